"""The wire contract: frozen pydantic models of requests, results, the runner's job and the manifest."""
