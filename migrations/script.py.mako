"""${message}

The deploy runs this BEFORE the previous release stops, so that release must still work afterwards: add, never rename
or drop, in one release; fill in the next; drop in the third.
"""

import sqlalchemy as sa
from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
