"""Headless Chromium, for tests of pages and for the pictures in the documentation."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from selenium.common.exceptions import (
    NoSuchElementException,
    StaleElementReferenceException,
)
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from spool.tests.live import WAIT_SECS, Server

GONE = NoSuchElementException, StaleElementReferenceException


@contextmanager
def browsing(size: str = "1400,1000") -> Iterator[Chrome]:
    options = ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.add_argument(f"--window-size={size}")
    # A cached page would keep its streams open, and a host may only have six.
    options.add_argument("--disable-features=BackForwardCache")
    options.set_capability("goog:loggingPrefs", {"browser": "SEVERE"})
    driver = shutil.which("chromedriver")
    browser = Chrome(options, Service(driver, env={**os.environ, "NO_PROXY": "*"}))
    try:
        yield browser
    finally:
        browser.quit()


def log_in(browser: Chrome, server: Server) -> None:
    """Log in to the admin with the password of the server's first start."""
    password = re.search(r"password (\S+)\)", server.output())
    if password is None:
        raise LookupError("the server has printed no password")
    browser.get(f"{server.url}/admin/")
    browser.find_element(By.NAME, "username").send_keys("admin")
    browser.find_element(By.NAME, "password").send_keys(password[1])
    browser.find_element(By.CSS_SELECTOR, "[type=submit]").click()
    wait(browser, lambda: "/login/" not in browser.current_url)


def wait(browser: Chrome, condition: Callable[[], object]) -> None:
    """Wait for a condition, even if its elements are replaced meanwhile."""
    waiting = WebDriverWait(browser, WAIT_SECS, ignored_exceptions=GONE)
    waiting.until(lambda _: condition())


def text_of(browser: Chrome) -> str:
    return browser.find_element(By.TAG_NAME, "body").text
