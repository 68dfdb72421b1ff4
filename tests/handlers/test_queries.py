"""Every field of docs/queries.md through a real TorchServe, and the page's own examples."""

import base64
import http.client
import io
import itertools
import json
import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from efiss_client import PATH
from handlers.body import RequestError
from handlers.request import RANGES, RANKS, Query, parse
from photographs import DATALAKE, catalogue
from searcher import open_version
from tests.drawing import draw
from tests.handlers.ranking import (
    IMPORTED,
    IMPORTED_CATALOGUE,
    clustered_catalogue,
    product_of,
    ranked,
    shop_of,
)
from tests.handlers.sending import sent
from tests.pictures import encoded
from tests.running import IMAGES, ODD_NAMES, ROOT, efiss


def post(service, **fields):
    """(status, answer, headers)"""
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
    body = json.dumps(fields).encode()
    connection.request("POST", PATH, body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    return response.status, json.loads(response.read()), response.headers


def ask(service, **fields) -> dict:
    status, answer, headers = post(service, **fields)
    assert status == 200, answer
    assert headers["x-index-version"] == answer["index_database_version"]
    return answer


def refused(service, **fields) -> tuple[int, str, str]:
    status, answer, headers = post(service, **fields)
    assert status == answer["code"] and headers["x-index-version"] == "1.0.0"
    return status, answer["type"], answer["message"]


@pytest.fixture(scope="module")
def image() -> str:
    """A picture that is not in the catalogue, as base64."""
    return base64.b64encode(encoded(draw(1, 5000))).decode()


@pytest.fixture(scope="module")
def imported() -> tuple[np.ndarray, list[str]]:
    """Codes and paths of the version IMPORTED."""
    return clustered_catalogue(*IMPORTED_CATALOGUE)


# -- against brute force -------------------------------------------------------------------------

TWO_SHOPS = ["shop2.example", "shop5.example"]
SELECTIONS = {
    "all": {},
    "near": {"max_distance": 9},
    "at distance 0": {"max_distance": 0},
    "two shops": {"shops": TWO_SHOPS},
    "an unknown shop beside one": {"shops": ["shop4.example", "SHOP1.example", "x\ny"]},
    "not the largest shop": {"exclude_shops": ["shop1.example", "none"]},
    "all but all": {"shops": TWO_SHOPS, "exclude_shops": TWO_SHOPS},
    "products": {"group_by": "product"},
    "all at once": {"shops": TWO_SHOPS, "exclude_shops": ["shop5.example"], "max_distance": 30,
                    "group_by": "product"},
}  # fmt: skip


PAGES = [
    {"top_k": 1000},
    {"top_k": 7, "offset": 20},
    {"top_k": 5, "diversity": 3},
    {"top_k": 4, "diversity": 10, "offset": 2},
    {"top_k": 10, "offset": 10_000},
]


@pytest.mark.parametrize("selection", SELECTIONS.values(), ids=SELECTIONS)
def test_answers_and_pages_equal_brute_force(service, imported, selection):
    codes, paths = imported
    code = codes[17]
    wanted_of = {name: value for name, value in selection.items() if name != "group_by"}
    hits = ranked(codes, paths, code, by_product="group_by" in selection, **wanted_of)
    fields = {"code": code.tobytes().hex(), "index_database_version": IMPORTED, "debug": True}
    for page in PAGES:
        answer = ask(service, **fields, **selection, **page)
        step, offset = page.get("diversity", 1), page.get("offset", 0)
        wanted = hits[offset * step :: step][: page["top_k"]]
        assert answer["relevant"] == [paths[row] for row, _ in wanted]
        assert answer["distances"] == [distance for _, distance in wanted]


def test_all_within_the_distance_come_page_by_page(service, imported):
    codes, paths = imported
    hits = ranked(codes, paths, codes[3], max_distance=36, by_product=False)
    assert 2000 < len(hits) < 3000
    fields = {"code": codes[3].tobytes().hex(), "index_database_version": IMPORTED,
              "max_distance": 36}  # fmt: skip
    pages = [ask(service, **fields, offset=offset)["relevant"] for offset in range(0, 4000, 1000)]
    assert [len(page) for page in pages] == [1000, 1000, len(hits) - 2000, 0]
    assert list(itertools.chain(*pages)) == [paths[row] for row, _ in hits]


@pytest.mark.parametrize("fields", [{}, {"diversity": 2}, {"group_by": "product"}])
def test_pages_of_a_picture_join(service, image, fields):
    fields = {"image": image, "debug": True, **fields}
    whole = ask(service, **fields, top_k=20)
    pages = [ask(service, **fields, top_k=8, offset=offset) for offset in (0, 8, 16)]
    for name in ("relevant", "distances"):
        joined = itertools.chain(*(page[name] for page in pages))
        assert list(joined)[:20] == whole[name]
    assert {page["code"] for page in pages} == {whole["code"]}


# -- ways to ask ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def live(service):
    return open_version(service.folder / "index" / "1.0.0")


def test_like_finds_every_path_whatever_its_name(service, live):
    paths = [live.path(row) for row in range(IMAGES)]
    odd = [path for path in paths if os.fsencode(path).rpartition(b"/")[2] in ODD_NAMES]
    assert len(odd) == len(ODD_NAMES)
    for path in [*odd, *paths[::9]]:
        row = live.row(path)
        answer = ask(service, like=path, top_k=1000, debug=True)
        assert answer["code"] == live.code(row).tobytes().hex()
        ties = answer["relevant"][: answer["distances"].count(0)]
        assert path in ties and ties == sorted(ties, key=live.row)


def test_the_code_of_a_picture_finds_the_same_distances(service, image):
    by_image = ask(service, image=image, debug=True, top_k=1000)
    by_code = ask(service, code=by_image["code"].upper(), debug=True, top_k=1000)
    assert by_code["code"] == by_image["code"]
    assert by_code["distances"] == by_image["distances"]
    assert sorted(by_code["relevant"]) == sorted(by_image["relevant"])


def test_debug_tells_the_steps_that_a_query_had(service, live, image):
    assert list(ask(service, code="0" * 16, debug=True)["ms"]) == ["parse", "version", "search"]
    steps = list(ask(service, like=live.path(0), debug=True)["ms"])
    assert steps == ["parse", "version", "like", "search"]
    assert list(ask(service, code="0" * 16)) == ["index_database_version", "relevant"]


def test_a_path_that_is_not_there(service):
    status, kind, message = refused(service, like="data/abc.com/1_abc_com.jpg\r\nx-evil: 1")
    assert (status, kind) == (404, "unknown_like") and "version 1.0.0 has no picture" in message


def test_shops_none_of_which_is_there(service):
    status, kind, message = refused(service, code="0" * 16, shops=["nort.example"])
    assert (status, kind) == (400, "unknown_shops") and "did you mean" in message
    told = ask(service, code="0" * 16, shops=["north.example", "nort.example"], debug=True)
    assert told["unknown_shops"] == ["nort.example"] and set(told["shops"]) == {"north.example"}


def test_a_box_searches_by_a_part_and_shows_it(service, image):
    picture = Image.open(io.BytesIO(base64.b64decode(image)))
    box = [0.25, 0.1, 0.75, 0.9]
    answer = ask(service, image=image, box=box, debug=True)
    shown = Image.open(io.BytesIO(base64.b64decode(answer["cropped_image"])))
    ratio = 0.5 * picture.width / (0.8 * picture.height)
    assert shown.format == "JPEG" and shown.width / shown.height == pytest.approx(ratio, rel=0.02)
    assert answer["code"] != ask(service, image=image, debug=True)["code"]
    assert "cropped_image" not in ask(service, image=image)
    whole = ask(service, image=image, box=[0, 0, 1, 1])
    whole.pop("cropped_image")
    assert whole == ask(service, image=image)


# -- versions ------------------------------------------------------------------------------------


def test_a_version_answers_when_it_is_named(service, image):
    for version in ("1.1.0", "1.0.0", IMPORTED):
        answer = ask(service, code="0" * 16, index_database_version=version)
        assert answer["index_database_version"] == version
    one, other = (ask(service, image=image, index_database_version=v) for v in ("1.0.0", "1.1.0"))
    assert one.pop("index_database_version") != other.pop("index_database_version")
    assert one == other  # of the same catalogue and model


def test_a_version_that_is_not_there_names_those_that_are(service):
    status, kind, message = refused(service, code="0" * 16, index_database_version="9.9.9")
    assert (status, kind) == (404, "unknown_version")
    assert message == f"there is no version 9.9.9; those that exist: 1.0.0, 1.1.0, {IMPORTED}"


def test_a_picture_asked_of_a_version_without_a_model(service, image):
    status, kind, message = refused(service, image=image, index_database_version=IMPORTED)
    assert (status, kind) == (409, "no_model")
    assert "without a model" in message and "code or like" in message


def test_a_damaged_version(service):
    folder = service.folder / "index" / "3.0.0"
    shutil.copytree(service.folder / "index" / IMPORTED, folder)
    try:
        (folder / "index.bin").write_bytes(b"")
        status, kind, message = refused(service, code="0" * 16, index_database_version="3.0.0")
    finally:
        shutil.rmtree(folder)
    assert (status, kind) == (409, "damaged_version") and "version 3.0.0 is damaged" in message


def test_kinds_and_versions_meet_in_batches(service, image, live):
    """Eight clients; the service answers batches of four."""
    queries = [
        {"image": image},
        {"code": "0" * 16},
        {"like": live.path(7), "group_by": "product"},
        {"code": "0" * 16, "index_database_version": IMPORTED, "shops": TWO_SHOPS},
        {"image": image, "index_database_version": "1.1.0"},
        {"image": image, "index_database_version": IMPORTED},
        {"code": "0" * 15},
    ]
    alone = [post(service, **query)[:2] for query in queries]
    assert [status for status, _ in alone] == [200, 200, 200, 200, 200, 409, 400]
    with ThreadPoolExecutor(8) as clients:
        together = list(clients.map(lambda i: post(service, **queries[i % 7])[:2], range(84)))
    assert together == alone * 12


# -- mistakes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [("code", "0\r\nx-evil: 1\r\n"), ("like", 1), ("max_distance", 65), ("shops", "a\r\nx-evil: 1"),
     ("exclude_shops", [1]), ("group_by", "shop\r\nx-evil: 1"), ("offset", 10_001),
     ("index_database_version", "1.0\r\nx-evil: 1"), ("box", [0, 0, 1])],
)  # fmt: skip
def test_a_bad_value_is_400_and_names_its_field(service, image, field, value):
    query = {} if field in ("code", "like") else {"image": image}
    status, answer, headers = post(service, **query, **{field: value})
    assert (status, answer["code"], answer["type"]) == (400, 400, f"bad_{field}")
    assert f"{field} must be" in answer["message"] and "x-evil" not in headers


# -- efiss search --------------------------------------------------------------------------------


def table(*arguments: str, service) -> list[list[str]]:
    """Rank, distance and path of each line."""
    done = efiss("search", *arguments, "--url", service.url, folder=service.folder)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()[2:]]
    return [[rank, distance, path] for rank, *_, distance, path in lines]


def test_efiss_search_takes_a_path_of_the_catalogue_and_selects(service, live):
    like = "data/atlas.example/2_atlas_example.jpg"
    assert any(path == like for _, _, path in table("--like", like, service=service))
    everything = table("--like", like, "--max_distance", "64", service=service)
    assert len(everything) == IMAGES
    shops = ("north.example", "linden.example")
    options = [*("--shop", shops[0]), *("--shop", shops[1]), *("--group_by", "product")]
    options += [*("--offset", "2"), *("--top_k", "5")]
    found = table("--like", like, *options, service=service)
    of_shops = [line for line in everything if shop_of(line[2]) in shops]
    products, firsts = set(), []
    for line in of_shops:
        if product_of(line[2]) not in products:
            products.add(product_of(line[2]))
            firsts.append(line)
    assert [line[1:] for line in found] == [line[1:] for line in firsts[2:7]]
    assert [line[0] for line in found] == ["3", "4", "5", "6", "7"]


def test_efiss_search_wants_a_picture_or_a_path(service, tmp_path):
    (tmp_path / "photo.jpg").touch()
    for arguments in ([], ["photo.jpg", "--like", "a/b.jpg"]):
        done = efiss("search", *arguments, folder=tmp_path)
        assert done.returncode == 2 and "give one IMAGE or more, or --like PATH" in done.stderr
    done = efiss("search", "--like", "a/b.jpg", "--url", service.url, folder=tmp_path)
    assert done.returncode == 1 and "has no picture with the path" in done.stderr


# -- docs/queries.md -----------------------------------------------------------------------------

PAGE = (ROOT / "docs" / "queries.md").read_text(encoding="utf-8")


DEMO_PATH = re.compile(r"demo/datalake/([\w.-]+)/[\w.-]+\.jpg")


def test_the_paths_and_shops_of_the_page_are_the_demos():
    there = {f"{DATALAKE}/{picture.path}" for picture in catalogue()}
    paths = {found[0] for found in DEMO_PATH.finditer(PAGE)}
    assert paths and paths <= there
    shops = {name for one in re.findall(r'shops": (\[.*?\])', PAGE) for name in json.loads(one)}
    assert len(shops) == 3 and shops <= {shop_of(path) for path in there}


def as_here(script: str) -> str:
    """Examples of the page for the catalogue that is here: a path, and a name for each shop."""
    script = DEMO_PATH.sub("data/atlas.example/2_atlas_example.jpg", script)
    for theirs, ours in {"juniper": "north", "quayside": "linden", "atelier": "atlas"}.items():
        script = script.replace(f"{theirs}.example", f"{ours}.example")
    return script


def test_the_examples_of_the_page_answer_what_it_says(service):
    script = as_here("".join(re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)))
    script = script.replace("http://127.0.0.1:5000", service.url)
    done = subprocess.run(
        ["bash", "-ec", script], cwd=service.folder, capture_output=True, check=True
    )
    # TorchServe indents JSON, so an answer ends with the first line that is nothing but a brace.
    answers = [json.loads(text + "}") for text in done.stdout.decode().split("\n}\n")[:-1]]
    (
        photo,
        form,
        like,
        code,
        fine,
        near,
        two_near,
        shops,
        others,
        products,
        first,
        second,
        both,
        version,
        box,
        bad,
    ) = answers
    paths = like["relevant"]
    assert photo == form and photo["relevant"][0] == paths[0]
    assert len(paths) == 3 and list(like)[2:6] == ["distances", "code", "ms", "rank"]
    assert len(fine["relevant"]) == 5 and fine["rank"] in RANKS
    assert like["distances"][0] == 0 and len(code["relevant"]) == 3
    assert near["relevant"][:2] == two_near["relevant"] and len(near["relevant"]) < IMAGES
    assert {shop_of(path) for path in shops["relevant"]} == {"north.example", "linden.example"}
    assert "atlas.example" not in {shop_of(path) for path in others["relevant"]}
    assert len(products["relevant"]) == 5
    assert first["relevant"] + second["relevant"] == both["relevant"]
    assert version == both and len(box["relevant"]) == 3 and "cropped_image" in box
    assert bad == json.loads(re.search(r"```json\n(.*?)```", PAGE, re.DOTALL)[1])


def test_the_page_has_every_field_and_its_limits():
    rows = dict(re.findall(r"^\| `(\w+)`(?: or `topk`)? \| (.*?) \|", PAGE, re.MULTILINE))
    with pytest.raises(RequestError, match="The fields are") as unknown:
        parse(sent({"what": 1}))
    fields = str(unknown.value).partition("The fields are ")[2].split(", ")
    assert set(fields) - {"topk"} <= set(rows)
    for name, allowed in RANGES.items():
        assert rows[name] == f"{allowed.lowest}-{allowed.highest}, default {allowed.default}" or (
            name == "top_k" and rows[name].startswith("1-1000, default 10;")
        )
    assert Query().top_k == 10


def test_the_page_has_every_kind_of_refusal():
    source = "".join(
        (ROOT / "handlers" / f"{name}.py").read_text()
        for name in ("body", "answer", "image_retrieval")
    )
    kinds = re.findall(r'RequestError\(\s*(\d{3}),\s*"(\w+)"', source)
    assert len(kinds) == 17
    assert [kind for kind in kinds if f"| {kind[0]} | `{kind[1]}` |" not in PAGE] == []
