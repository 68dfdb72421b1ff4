"""The service beside the search: reindexing over HTTP, the versions, health, and the page."""
