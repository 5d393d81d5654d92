"""Images that a verb needs: found in the store, or built from a recipe or a service's context."""

from __future__ import annotations

from typing import TYPE_CHECKING

from balenawasm.build.image_build import BuildRequest, build_image, find_image
from balenawasm.build.workbench import RunSettings
from balenawasm.cli.build import open_workshop, source_date_epoch
from balenawasm.cli.progress import BuildDisplay
from balenawasm.oci.reference import Reference, parse_reference
from balenawasm.store.errors import ImageNotFoundError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from balenawasm.build.image_build import Workshop
    from balenawasm.compose.model import Build, Project, Service
    from balenawasm.runtime.home import Home
    from balenawasm.store.images import Image


def image_reference(project: Project, service: Service) -> Reference:
    """What a service's image is called: its `image`, else <project>-<service> as in compose."""
    return parse_reference(service.image or f"{project.name}-{service.name}")


def base_image(home: Home, name: str) -> Image:
    """An image by name; one of ours is built when it is missing or its recipe has changed."""
    workshop = open_workshop(home)
    with BuildDisplay() as display:
        return find_image(name, workshop, display)


def project_images(
    home: Home, project: Project, *, build: bool, display: BuildDisplay
) -> Mapping[str, Image]:
    """The image of each service by its name; what is missing is built, with `build` all.

    Services that say the same of their image share it: it is built once.
    """
    workshop = open_workshop(home)
    images: dict[str, Image] = {}
    made: list[tuple[Build | None, Reference, Image]] = []
    # What is built first may be what another service has as its `image`.
    for name in sorted(project.start_order, key=lambda name: project.services[name].build is None):
        service = project.services[name]
        reference = image_reference(project, service)
        same = (it for how, named, it in made if (how, named) == (service.build, reference))
        image = next(same, None)
        if image is None:
            image = _service_image(workshop, reference, service, build=build, display=display)
            made.append((service.build, reference, image))
        images[name] = image
    return images


def _service_image(
    workshop: Workshop,
    reference: Reference,
    service: Service,
    *,
    build: bool,
    display: BuildDisplay,
) -> Image:
    if service.build is None:
        return find_image(str(reference), workshop, display)
    if not build:
        try:
            return workshop.store.images.get(reference)
        except ImageNotFoundError:
            pass
    request = BuildRequest(
        context=service.build.context,
        balenafile=service.build.balenafile,
        reference=reference,
        build_args=service.build.args,
        target=service.build.target,
        source_date_epoch=source_date_epoch(),
        run_settings=RunSettings(network=service.build.network),
    )
    return build_image(request, workshop, display)
