"""The pages of captioning for people, one module for each noun."""
