"""The side bar of the administration: what there is, by the work that it belongs to."""

NAVIGATION = [
    {
        "title": "Queue",
        "items": [
            {"title": "Jobs", "icon": "list", "link": "/admin/jobs/job/"},
            {"title": "Items", "icon": "grid_view", "link": "/admin/jobs/jobitem/"},
            {"title": "Archive", "icon": "inventory_2", "link": "/admin/jobs/jobarchive/"},
            {"title": "Workers and limits", "icon": "speed", "link": "/admin/jobs/queue/"},
            {"title": "Events", "icon": "timeline", "link": "/admin/jobs/jobevent/"},
            {"title": "Message broker", "icon": "send", "link": "/admin/jobs/brokerdelivery/"},
        ],
    },
    {
        "title": "Captioning",
        "items": [
            {"title": "Data sets", "icon": "photo_library", "link": "/admin/captioning/dataset/"},
            {"title": "Images", "icon": "image", "link": "/admin/captioning/image/"},
            {"title": "Perspectives", "icon": "visibility", "link": "/admin/captioning/perspective/"},
            {"title": "Captions", "icon": "notes", "link": "/admin/captioning/caption/"},
            {"title": "Providers", "icon": "memory", "link": "/admin/captioning/provider/"},
            {"title": "Model calls", "icon": "receipt_long", "link": "/admin/captioning/modelcall/"},
        ],
    },
    {
        "title": "Surveys",
        "items": [
            {"title": "Surveys", "icon": "terrain", "link": "/admin/volcal/survey/"},
            {"title": "Regions", "icon": "polyline", "link": "/admin/volcal/region/"},
            {"title": "Products", "icon": "draft", "link": "/admin/volcal/product/"},
            {"title": "Files", "icon": "upload_file", "link": "/admin/volcal/surveyfile/"},
        ],
    },
    {
        "title": "People",
        "items": [
            {"title": "Users", "icon": "person", "link": "/admin/auth/user/"},
            {"title": "Groups", "icon": "group", "link": "/admin/auth/group/"},
            {"title": "API tokens", "icon": "key", "link": "/admin/orchestrator/apitoken/"},
        ],
    },
    {
        "title": "Machinery",
        "collapsible": True,
        "items": [
            {"title": "Canaries", "icon": "pulse_alert", "link": "/admin/jobs/clustercanary/"},
            {"title": "Lanes", "icon": "view_column", "link": "/admin/jobs/lane/"},
            {"title": "Actions on many jobs", "icon": "select_all", "link": "/admin/jobs/bulkaction/"},
            {"title": "Saved views", "icon": "bookmark", "link": "/admin/jobs/savedview/"},
            {"title": "Tallies", "icon": "bar_chart", "link": "/admin/jobs/tally/"},
            {"title": "Streams", "icon": "water", "link": "/admin/jobs/eventstream/"},
            {"title": "Dependencies of jobs", "icon": "account_tree", "link": "/admin/jobs/jobdependency/"},
            {"title": "Edges of items", "icon": "share", "link": "/admin/jobs/itemedge/"},
            {"title": "Wordings", "icon": "history", "link": "/admin/captioning/perspectiveversion/"},
            {"title": "Allowances", "icon": "timer", "link": "/admin/volcal/allowance/"},
            {"title": "Throttles", "icon": "hourglass", "link": "/admin/captioning/throttle/"},
            {"title": "Remembered answers", "icon": "replay", "link": "/admin/orchestrator/idempotencykey/"},
            {"title": "Waiting tasks", "icon": "pending", "link": "/admin/django_q/ormq/"},
            {"title": "Schedules", "icon": "schedule", "link": "/admin/django_q/schedule/"},
            {"title": "Failed tasks", "icon": "error", "link": "/admin/django_q/failure/"},
        ],
    },
]
