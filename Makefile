# The commands of every day. CONTRIBUTING.md says more.
.PHONY: check test fix docs
check:
	uv run ruff check .
	uv run ruff format --check .
	uv run mypy
	uv run lint-imports

test:
	uv run pytest

fix:
	uv run ruff check --fix .
	uv run ruff format .

docs:
	uv run python -m streamseg.config.docs docs/configuration.md
	uv run python -m streamseg.protocol.json_schema docs/protocol.schema.json
	uv run pytest -q -n0 tests/test_documents.py
