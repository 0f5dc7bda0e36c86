"""Every documented build makes an image that Lambda takes."""

from __future__ import annotations

import re

from tests.unit.docs.test_links import ROOT, pages

#: A command, with its continued lines; not the mere mention of one.
_BUILD = re.compile(r"\bdocker (?:buildx )?build +(?=-)(?:\\\n|[^`\n])+")


def test_every_documented_build_makes_one_image_for_one_processor() -> None:
    """Without these options docker pushes an index, with attestations, and Lambda refuses it.

    https://docs.aws.amazon.com/lambda/latest/dg/python-image.html
    """
    builds = [
        f"{page}: {build}"
        for page in (*pages(), "lambda_image/Dockerfile")
        for build in _BUILD.findall((ROOT / page).read_text(encoding="utf-8"))
    ]
    assert len(builds) >= 2
    for build in builds:
        assert {"--provenance=false", "--sbom=false"} <= set(build.split()), build
        assert re.search(r"--platform[ =]linux/(amd64|arm64)\b", build), build
