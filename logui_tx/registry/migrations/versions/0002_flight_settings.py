"""What the dialect kraken lets a flight's pages do."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# As it was when this revision was written; flights that exist get it.
LISTENERS = (
    '["mouseclick", "mousemove", "scroll", "keyboard", "focus", "resize", "navigation", "submit", "custom"]'
)


def upgrade() -> None:
    with op.batch_alter_table("flight") as flight:
        flight.add_column(sa.Column("listeners", sa.Text(), nullable=False, server_default=LISTENERS))
        flight.add_column(sa.Column("sample_moves", sa.BigInteger(), nullable=False, server_default="0"))
        flight.add_column(sa.Column("metadata", sa.Text(), nullable=False, server_default="{}"))


def downgrade() -> None:
    with op.batch_alter_table("flight") as flight:
        flight.drop_column("metadata")
        flight.drop_column("sample_moves")
        flight.drop_column("listeners")
