"""What keeps people from using a page, as a browser shows it: contrast, names, focus, width."""

from pathlib import Path
from typing import Any

SCRIPT = """
const faults = [];
for (const animation of document.getAnimations()) animation.cancel();  // colours on their way
for (const details of document.querySelectorAll("details")) details.open = true;
const name = (element) =>
  `${element.tagName.toLowerCase()} ${element.textContent.trim().slice(0, 40)}`;
const numbers = (colour) => {
  const found = colour.match(/[\\d.]+/g);
  return found ? found.map(Number) : [0, 0, 0, 0];
};
const over = (above, below) => {
  const alpha = above[3] ?? 1;
  return [0, 1, 2].map((i) => alpha * above[i] + (1 - alpha) * below[i]);
};
const canvas = matchMedia("(prefers-color-scheme: dark)").matches ? [18, 18, 18] : [255, 255, 255];
const known = new Map([[null, canvas]]);
const background = (element) => {
  if (!known.has(element)) known.set(element,
    over(numbers(getComputedStyle(element).backgroundColor), background(element.parentElement)));
  return known.get(element);
};
const luminance = (colour) => {
  const [r, g, b] = colour.map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const element = walker.currentNode.parentElement, style = getComputedStyle(element);
  if (element.closest('.mark-text')) continue;  // it stands on a mark, which is no ancestor
  const hidden = ["SCRIPT", "STYLE", "OPTION", "TITLE"].includes(element.tagName)
    || !element.checkVisibility({ visibilityProperty: true }) || style.clipPath !== "none";
  if (!walker.currentNode.data.trim() || hidden) continue;
  const behind = background(element);
  const ink = over(numbers(element.closest("svg") ? style.fill : style.color), behind);
  const [light, dark] = [luminance(ink), luminance(behind)].sort((a, b) => b - a);
  const size = parseFloat(style.fontSize);
  const isLarge = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
  const ratio = (light + 0.05) / (dark + 0.05);
  if (ratio < (isLarge ? 3 : 4.5)) faults.push(`contrast ${ratio.toFixed(2)}: ${name(element)}`);
}
const controls = "a[href], button, select, input, summary, [role=region], [role=img]";
for (const element of document.querySelectorAll(controls)) {
  const place = element.getBoundingClientRect();  // a closed drawer lies beside the page
  if (!element.checkVisibility() || place.right <= 0 || place.left >= innerWidth) continue;
  const label = element.getAttribute("aria-label") || element.textContent.trim()
    || element.labels?.[0]?.textContent.trim() || element.title
    || element.querySelector("img")?.alt;
  if (!label) faults.push(`without a name: ${element.outerHTML.slice(0, 80)}`);
  if (element.getAttribute("role") === "img") continue;
  element.focus();
  if (document.activeElement !== element) faults.push(`takes no focus: ${name(element)}`);
}
for (const element of document.querySelectorAll("body *")) {
  const scrolls = ["auto", "scroll"].includes(getComputedStyle(element).overflowX)
    && element.scrollWidth > element.clientWidth + 1;
  if (!scrolls || element.querySelector("a, button, [tabindex='0']")) continue;
  element.focus();  // browsers give focus to what scrolls
  if (document.activeElement !== element)
    faults.push(`scrolls, but not by keyboard: ${name(element)}`);
}
if (document.documentElement.scrollWidth > innerWidth)
  faults.push(`${document.documentElement.scrollWidth} pixels wide`);
if (!document.documentElement.lang) faults.push("no language");
if (document.querySelectorAll("h1").length !== 1) faults.push("not one h1");
return [...new Set(faults)];
"""
VIEWS = ((1400, "light"), (390, "dark"))


def find_faults(browser: Any, page: Path | str, ready: str = "body") -> list[str]:
    """What is wrong with a page, on a desk in the light and on a phone in the dark.

    `page` is a file or an address, and `ready` selects an element that is there as soon as the page
    is whole.
    """
    browser.implicitly_wait(30)
    faults = []
    for width, scheme in VIEWS:
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        feature = {"name": "prefers-color-scheme", "value": scheme}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        browser.get(page.as_uri() if isinstance(page, Path) else page)
        browser.find_element("css selector", ready)
        faults += [f"{width} {scheme}: {fault}" for fault in browser.execute_script(SCRIPT)]
        browser.execute_script("localStorage.clear()")  # where a page remembers the scheme
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.implicitly_wait(0)
    said = [entry["message"] for entry in browser.get_log("browser")]
    return faults + [message for message in said if "Autofocus" not in message]  # focused here
