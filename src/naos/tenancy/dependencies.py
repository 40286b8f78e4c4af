"""What the routes of tenancy share."""

from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from naos.tenancy.tokens import Authority


async def authority(connection: HTTPConnection) -> Authority:
    held: Authority = connection.app.state.authority
    return held


AuthorityOf = Annotated[Authority, Depends(authority)]
