"""An app for tests only: a pipeline whose items do what their payload says, and builders of rows."""
