"""The responses of the API."""

from pydantic import BaseModel, Field

__all__ = ["Camera", "Error", "GalleryInfo", "Health", "HitInfo", "ItemInfo", "SearchResult"]


class Error(BaseModel):
    """Every response that is not a success."""

    detail: str = Field(description="one line: what is wrong, and what to do about it")


class Health(BaseModel):
    status: str = Field(description="ok")


class Camera(BaseModel):
    name: str
    items: int


class GalleryInfo(BaseModel):
    """The gallery, and what may be asked of it."""

    size: int = Field(description="number of items")
    metric: str = Field(description="cosine (distance is 1 - cos) or euclidean")
    dim: int = Field(description="dimension of the features")
    fingerprint: str = Field(description="of the model that computed the features")
    cameras: list[Camera]
    threshold: float = Field(description="default threshold: a closer hit is a match")
    false_positive_rate: float | None = Field(
        description="share of gallery pairs of two identities below the threshold; null: the threshold was given, or "
        "is a guess because the gallery has no images of two known identities"
    )
    attention: list[str] = Field(description="branches whose attention can be drawn: sa, glca")
    allow_add: bool = Field(description="whether items may be added and removed")
    max_upload_bytes: int


class ItemInfo(BaseModel):
    """An image of the gallery."""

    id: int
    identity: str | None = Field(description="null: not known")
    camera: str | None = Field(description="null: not known")
    name: str = Field(description="file name without its folder")
    image: str = Field(description="path of the picture on this server")


class HitInfo(ItemInfo):
    """An image that a search found."""

    distance: float
    match: bool = Field(description="closer than the threshold")
    attention: str | None = Field(description="path of the picture with attention; null if that was not asked for")


class SearchResult(BaseModel):
    """The nearest items, nearest first."""

    hits: list[HitInfo]
    threshold: float = Field(description="the threshold that was used")
    attention: str | None = Field(description="the query with its attention as a data: URL; null if not asked for")
    seconds: float = Field(description="duration, including decoding and waiting for other searches")
