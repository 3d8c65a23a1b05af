"""Whether a flight's LogUI 0.5 pages are refused that name a session which cannot be gone on with."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("flight") as flight:
        flight.add_column(
            sa.Column("strict_sessions", sa.Boolean(), nullable=False, server_default=sa.false())
        )


def downgrade() -> None:
    with op.batch_alter_table("flight") as flight:
        flight.drop_column("strict_sessions")
