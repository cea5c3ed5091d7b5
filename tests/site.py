"""The built site in a browser: ``python -m tests.site FOLDER`` prints what is wrong, and then exits with 1."""

import sys
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from urllib.parse import unquote, urldefrag

from tests.browser import CHROMIUM, browsing

# The words of a picture are its alt, but not the name of a file, which Sphinx gives a picture without one; in the
# gallery's index, those beside it.
PAGE = r"""(async () => {
    const pictures = [...document.images];
    pictures.forEach((picture) => { picture.loading = 'eager'; });
    await Promise.all(pictures.map((picture) => picture.decode().catch(() => null)));
    const words = (picture) => picture.alt || picture.closest('.sphx-glr-thumbcontainer')?.innerText || '';
    const isNamed = (picture) => /\S/.test(words(picture)) && !/\.(png|svg|jpg)$/.test(words(picture));
    return {
        levels: [...document.querySelectorAll('h1, h2, h3, h4, h5, h6')].map((heading) => Number(heading.tagName[1])),
        broken: pictures.filter((picture) => !picture.naturalWidth).map((picture) => picture.src),
        wordless: pictures.filter((picture) => !isNamed(picture)).map((picture) => picture.src),
        links: [...document.querySelectorAll('a[href]')].map((link) => link.href),
        anchors: [...document.querySelectorAll('[id]')].map((element) => element.id),
        mouseOnly: [...document.querySelectorAll('a, button, summary, [onclick], [role=button]')]
            .filter((element) => element.checkVisibility({visibilityProperty: true}) && element.tabIndex < 0)
            .map((element) => element.outerHTML.slice(0, 100)),
    };
})()"""


# Texts whose contrast with what is behind them is below the 4.5 of the Web Content Accessibility Guidelines
# (1.4.3). A canvas of one pixel knows every form of colour, and lays those that let light through over one another.
FAINT = r"""(async () => {
    const frame = () => new Promise(requestAnimationFrame);
    await frame().then(frame); // by then the page has the new scheme
    document.getAnimations().forEach((animation) => animation.finish());
    const pen = new OffscreenCanvas(1, 1).getContext('2d', {willReadFrequently: true});
    const linear = (value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    const luminance = (colors) => {
        colors.forEach((color) => { pen.fillStyle = color; pen.fillRect(0, 0, 1, 1); });
        const [red, green, blue] = [...pen.getImageData(0, 0, 1, 1).data].map((value) => linear(value / 255));
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    };
    const behind = (element) =>
        element ? [...behind(element.parentElement), getComputedStyle(element).backgroundColor] : ['white'];
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), faint = new Set();
    while (texts.nextNode()) {
        const text = texts.currentNode.data.trim(), element = texts.currentNode.parentElement;
        const seen = element.checkVisibility({visibilityProperty: true, opacityProperty: true});
        if (!/[\p{L}\p{N}]/u.test(text) || !seen || element.closest('svg')) continue;
        const under = behind(element), over = [...under, getComputedStyle(element).color];
        const [dark, bright] = [luminance(under), luminance(over)].sort((a, b) => a - b);
        const contrast = (bright + 0.05) / (dark + 0.05);
        if (contrast < 4.5) faint.add(`a contrast of ${contrast.toFixed(1)}: ${text.slice(0, 40)}`);
    }
    return [...faint];
})()"""

DESKTOP, PHONE = (1200, 900), (390, 844)
SCHEMES = ("dark", "light")  # the last one stays


class _Files(SimpleHTTPRequestHandler):
    def do_GET(self):
        """Send a file; the icon, for which browsers ask by themselves, is none."""
        if self.path == "/favicon.ico":
            self.send_response(204)
            self.end_headers()
        else:
            super().do_GET()

    def log_message(self, format, *args):
        """Print nothing."""


@contextmanager
def serving(folder):
    """The address at which a folder is served."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Files, directory=str(folder))) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def faint_texts(tab, scheme):
    """The texts of a page that are hard to read in light or dark."""
    tab.prefer(scheme)
    return [f"in {scheme}, {text}" for text in tab.value(FAINT)]


def read_pages(tab, home, folder):
    """What the browser finds on each page, by the page's path."""
    pages = {}
    for path in sorted(folder.rglob("*.html")):
        name = path.relative_to(folder).as_posix()
        if name.startswith("_"):  # parts of the theme
            continue
        tab.errors.clear()
        tab.open(home + name)
        page = tab.value(PAGE)
        tab.resize(*PHONE)
        too_wide = tab.value("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        tab.resize(*DESKTOP)
        faint = [text for scheme in SCHEMES for text in faint_texts(tab, scheme)]
        links = {link.removeprefix(home) for link in page["links"] if link.startswith(home)}
        pages[name] = {**page, "links": sorted(links), "errors": tab.errors[:], "too_wide": too_wide, "faint": faint}
    return pages


def faults_of_page(page):
    """What is wrong with a page by itself."""
    levels = page["levels"]
    if levels.count(1) != 1:
        yield f"{levels.count(1)} headings of level 1"
    if any(after > before + 1 for before, after in zip([0, *levels], levels, strict=False)):
        yield f"a level of headings is left out: {levels}"
    yield from (f"a broken picture: {source}" for source in page["broken"])
    yield from (f"a picture without words: {source}" for source in page["wordless"])
    yield from (f"not reached by the keyboard: {element}" for element in page["mouseOnly"])
    if page["too_wide"] > 0:
        yield f"{page['too_wide']} pixels wider than a phone"
    yield from page["faint"]
    yield from (f"on the console: {error}" for error in page["errors"])


def faults_of_links(page, pages, folder):
    """Links to files and headings that the site does not have."""
    for link in page["links"]:
        address, anchor = urldefrag(link)
        target = unquote(address.partition("?")[0]) or "index.html"
        if not (folder / target).is_file():
            yield f"a link to {target}, which is not there"
        elif anchor and target in pages and unquote(anchor) not in pages[target]["anchors"]:
            yield f"a link to {target}#{anchor}, which is not on that page"


def is_found(tab, home, word, name):
    """Whether the site's search for a word finds a page."""
    tab.open(f"{home}search.html?q={word}")
    try:
        tab.wait(f"[...document.querySelectorAll('#search-results a')].some((link) => link.href.includes('{name}'))")
    except AssertionError:
        return False
    return True


def faults(folder):
    """What is wrong with a site, by page."""
    with TemporaryDirectory() as own, serving(folder) as home, browsing(own, *DESKTOP) as tab:
        pages = read_pages(tab, home, folder)
        found = {name: [*faults_of_page(page), *faults_of_links(page, pages, folder)] for name, page in pages.items()}
        if not is_found(tab, home, "softmax", "layers/Softmax.html"):
            found.setdefault("search.html", []).append("a search for softmax does not find the layer")
    return found


def main(folder):
    """Print what is wrong with the site in a folder."""
    if CHROMIUM is None:
        print("The site was not looked at: Chromium is not installed.")
        return 0
    found = faults(Path(folder))
    for name, lines in found.items():
        for line in lines:
            print(f"{name}: {line}")
    total = sum(map(len, found.values()))
    print(f"{len(found)} pages in a browser, {total} faults")
    return 1 if total else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
