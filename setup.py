"""Metadata only; tool settings stand in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

EXTRAS = {
    "clickhouse": ["treq>=22", "twisted[tls]"],
    "http": ["treq>=22.2", "twisted[tls]"],
    "kafka": ["confluent-kafka>=2.6"],
    "legacy": ["Django>=4.1"],
    "postgresql": ["psycopg[binary]>=3.1"],
    "redis": ["hiredis>=2", "txredisapi>=1.6"],
    "tls": ["twisted[tls]"],
}
TEST = [
    "hypothesis",
    "mypy",
    "mypy-zope",
    "pandas",
    "pandas-stubs",
    "playwright",
    "pytest",
    "pytest-xdist",
    "ruff",
    "towncrier",
    "build",
    "setuptools>=68",
    "wheel",
]

setup(
    name="logui-tx",
    version="0.1.0",
    description="Interaction-logging server that never loses what it has acknowledged",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.11",
    # twisted.plugins has no __init__.py by design: it is a plugin folder shared by distributions.
    packages=[*find_packages(include=["logui_tx*"]), "twisted.plugins"],
    package_dir={"": "."},
    include_package_data=True,
    package_data={
        "logui_tx": ["py.typed", "web/templates/*.html", "web/static/*", "web/browser/*"],
        "logui_tx.registry": ["migrations/*.mako", "migrations/versions/*.py"],
    },
    install_requires=[
        "alembic>=1.13",
        "attrs>=23.2",
        "autobahn>=24.4",
        "Automat>=24.8",
        "click>=8.1",
        "hyperlink>=21",
        "itsdangerous>=2.2",
        "Jinja2>=3.1",
        "msgspec>=0.18",
        "prometheus-client>=0.20",
        "publicsuffixlist>=1.0",
        "rich>=13",
        "SQLAlchemy>=2.0",
        "Twisted>=24.7",
        "ua-parser[regex]>=1.0",
        "zope.interface>=6",
        "websockets>=13",
        "zstandard>=0.22",
    ],
    extras_require={
        **EXTRAS,
        "all": sorted({requirement for extra in EXTRAS.values() for requirement in extra}),
        "test": sorted({*TEST, *(r for extra in EXTRAS.values() for r in extra)}),
    },
    entry_points={"console_scripts": ["logui = logui_tx.cli.main:main"]},
    classifiers=[
        "Framework :: Twisted",
        "License :: OSI Approved :: MIT License",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Topic :: Internet :: WWW/HTTP",
        "Topic :: Scientific/Engineering",
        "Typing :: Typed",
    ],
)
