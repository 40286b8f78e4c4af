"""Log-in: accounts, second factors, identity providers, browser sessions"""

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    pass
