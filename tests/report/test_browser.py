"""The report in a real browser: no error, no request, nothing wider than a phone, light and dark.

Needs Debian's ``chromium`` and ``chromium-driver``; ``.ci/run`` installs them.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver

from coterie.paper.page import write_page
from coterie.report.record import read_run
from coterie.report.writing import report_demo, report_folder
from tests.paper.results import results
from tests.report.runs import SDT, comparison, write_run

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(
        not (BROWSER and DRIVER), reason="no chromium and chromedriver here (apt-get install them)"
    ),
]
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WIDTHS = {"desktop": 1280, "phone": 390, "small phone": 375}


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(BROWSER)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    profile = tmp_path_factory.mktemp("profile")
    for argument in (*ARGUMENTS, f"--user-data-dir={profile}"):
        options.add_argument(argument)
    # both paths are given: selenium's manager would look for downloads
    service = webdriver.ChromeService(executable_path=str(DRIVER))
    browser = webdriver.Chrome(options=options, service=service)
    yield browser
    browser.quit()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    write_run(folder / "run")
    write_run(folder / "sdt", SDT)
    (folder / "paper").mkdir()
    write_run(folder / "bench" / "attested-0")
    write_run(folder / "bench" / "plaintext-0", transport="PLAINTEXT", seconds=3.0)
    runs = (read_run(folder / "run", "HFL"), read_run(folder / "sdt", "SDT"))
    return {
        "run": report_folder(folder / "run"),
        "bench": report_folder(folder / "bench"),
        "demo": report_demo(folder, runs, comparison()),
        "paper": write_page(results(), folder / "paper"),
    }


def opened(driver: webdriver.Chrome, page: Path, width: int, scheme: str) -> None:
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600},
    )
    driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
    )
    log_of(driver, "performance")  # what came before
    log_of(driver, "browser")
    driver.get(page.as_uri())


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
@pytest.mark.parametrize("name", ["run", "bench", "demo", "paper"])
def test_the_report_in_a_browser(
    driver: webdriver.Chrome, pages: dict[str, Path], name: str, width: int, scheme: str
) -> None:
    page = pages[name]
    opened(driver, page, width, scheme)

    assert log_of(driver, "browser") == [], "no error and no warning on the console"
    asked = [
        entry["message"]
        for entry in log_of(driver, "performance")
        if "Network.requestWillBeSent" in entry["message"]
    ]
    places = [message for message in asked if page.as_uri() not in message]
    assert asked, "the log sees requests: that for the page itself"
    assert all('"url":"data:' in message for message in places), places

    inside, outside = driver.execute_script(
        "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    assert inside <= outside, "nothing is wider than the screen"
    wider = driver.execute_script(
        "const limit = document.documentElement.clientWidth + 1;"
        "return [...document.querySelectorAll('main *, header *')]"
        ".filter(e => !e.closest('.scroll') && e.getBoundingClientRect().right > limit)"
        ".map(e => e.tagName + ' ' + e.textContent.slice(0, 40))"
    )
    assert wider == []
    fuller = driver.execute_script(
        "return [...document.querySelectorAll('.card')].filter(e => e.scrollWidth > e.clientWidth)"
        ".map(e => e.textContent.trim().slice(0, 40))"
    )
    assert fuller == [], "nothing is wider than its card"

    broken = driver.execute_script(
        "return [...document.querySelectorAll('.unit, .part')]"
        ".filter(e => e.getBoundingClientRect().height > 1.9 * parseFloat(getComputedStyle(e).fontSize))"
        ".map(e => e.textContent)"
    )
    assert broken == [], "no number stands apart from its unit"
    if name == "demo" and width < 600:
        tops = driver.execute_script(
            "const gain = document.querySelector('[data-key=gain]').parentElement;"
            "return [...gain.children].map(e => e.getBoundingClientRect().top)"
        )
        assert len(set(tops)) == 3, "gain, interval and p have a line each"

    background, ink = driver.execute_script(
        "const style = getComputedStyle(document.body); return [style.backgroundColor, style.color]"
    )
    light = brightness(background) > brightness(ink)
    assert light == (scheme == "light")
    words = driver.execute_script(
        "return [...document.querySelectorAll('svg text')].map(e => getComputedStyle(e).fill)"
    )
    assert words, "figures have text"
    assert all((brightness(word) < 128) == (scheme == "light") for word in words)


def test_figures_text_can_be_read_on_a_phone(
    driver: webdriver.Chrome, pages: dict[str, Path]
) -> None:
    opened(driver, pages["run"], WIDTHS["phone"], "light")
    heights = driver.execute_script(
        "return [...document.querySelectorAll('svg text')]"
        ".map(e => [parseFloat(getComputedStyle(e).fontSize), e.getScreenCTM()])"
        ".map(([size, m]) => size * Math.hypot(m.a, m.b))"
    )
    assert min(heights) >= 8.5, "CSS pixels"


def test_a_report_stands_without_its_figures_folder(
    driver: webdriver.Chrome, pages: dict[str, Path], tmp_path: Path
) -> None:
    alone = tmp_path / "report.html"
    alone.write_bytes(pages["run"].read_bytes())
    opened(driver, alone, WIDTHS["desktop"], "light")
    shown = driver.execute_script(
        "return [...document.querySelectorAll('figure svg')]"
        ".map(e => e.getBoundingClientRect()).map(r => r.width > 100 && r.height > 50)"
    )
    assert len(shown) == 5
    assert all(shown)
    assert "SIMULATED" in driver.title


def log_of(driver: webdriver.Chrome, kind: str) -> list[dict[str, str]]:
    """What the browser has logged since the last look."""
    entries: list[dict[str, str]] = driver.get_log(kind)  # type: ignore[no-untyped-call]
    return entries


def brightness(colour: str) -> float:
    """Mean of the three parts of an ``rgb(r, g, b)``."""
    parts = [float(part) for part in colour.strip("rgba()").split(",")[:3]]
    return sum(parts) / 3
