"""ECR's DescribeImages fails for an image id that the repository does not have.

AWS answers ImageNotFoundException; ministack answers an empty list, so the CDK CLI takes the image
as published and neither builds nor pushes it.
"""

from __future__ import annotations

from typing import Any

from ministack.core.responses import error_response_json
from ministack.services import ecr


def apply() -> None:
    """Check the ids before ministack lists images."""
    stock = ecr._describe_images

    def describe_images(request: dict[str, Any]) -> tuple[Any, ...]:
        name = request.get("repositoryName", "")
        for image_id in request.get("imageIds") or []:
            if name in ecr._repositories and ecr._find_image(name, image_id) is None:
                described = ", ".join(f"{key}:'{value}'" for key, value in image_id.items())
                return tuple(
                    error_response_json(
                        "ImageNotFoundException",
                        f"The image with imageId {{{described}}} does not exist within the "
                        f"repository with name '{name}' in the registry with id "
                        f"'{ecr._registry_id()}'",
                        400,
                    )
                )
        return tuple(stock(request))

    ecr._describe_images = describe_images
