"""The few pages that must work when nothing else does: login, welcome, warming up, and what went wrong.

Self-contained HTML: no script and one style, named in the Content-Security-Policy by its hash. Pure.
"""

import base64
import hashlib
from html import escape
from http import HTTPStatus

STYLE = """
:root{color-scheme:light dark;
--ink:#1b2027;--dim:#5d6876;--paper:#f4f6f8;--card:#fff;--line:#d6dce3;--go:#0b6b57;--bad:#a8321f}
@media(prefers-color-scheme:dark){:root{
--ink:#e7ebf0;--dim:#98a4b3;--paper:#12161b;--card:#1a2027;--line:#2d3640;--go:#2fb896;--bad:#f08a76}}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;display:grid;place-items:center;background:var(--paper);color:var(--ink);
font:16px/1.5 system-ui,"Noto Sans TC","PingFang TC",sans-serif}
main{width:min(27rem,calc(100vw - 2rem));padding:2rem;
background:var(--card);border:1px solid var(--line);border-radius:12px}
h1{font-size:1.35rem;margin:0 0 .5rem}
p{margin:.5rem 0;color:var(--dim)}
p.bad{color:var(--bad)}
label{display:block;margin:1rem 0 .25rem;font-size:.9rem}
input{width:100%;padding:.65rem .75rem;border:1px solid var(--line);border-radius:8px;
background:var(--paper);color:var(--ink);font:inherit}
button,a.go{display:inline-block;margin-top:1.25rem;padding:.65rem 1.25rem;border:0;border-radius:8px;
background:var(--go);color:var(--card);font:inherit;font-weight:600;text-decoration:none;cursor:pointer}
:focus-visible{outline:2px solid var(--go);outline-offset:2px}
code{font:.9em ui-monospace,monospace;overflow-wrap:anywhere}
small{color:var(--dim)}
progress{appearance:none;width:100%;height:.5rem;margin:1rem 0 .25rem;border:0;border-radius:99px;overflow:hidden;
background:var(--line)}
progress::-webkit-progress-bar{background:var(--line)}
progress::-webkit-progress-value{background:var(--go);border-radius:99px}
progress::-moz-progress-bar{background:var(--go)}
""".strip()

_STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
CSP = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
"""For everything but the trading page, whose library needs inline scripts."""
UI_CSP = "frame-ancestors 'none'; base-uri 'self'; form-action 'self'; object-src 'none'"

HTML = "text/html; charset=utf-8"
HOME = "/ui/"

_NEXT_STEP = {
    401: "Log in, or open the link that the start of the system printed.",
    403: "Ask somebody whose role allows it, or open the page under the address that the start of the system printed.",
    404: f'There is nothing at this address. <a href="{HOME}">To the overview</a>.',
    429: "Wait a little, then try again.",
    503: "This page tries again by itself every five seconds. Stops that were placed rest at the exchange meanwhile.",
}


def _page(title: str, body: str, *, head: str = "") -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><meta name="robots" content="noindex">'
        f"{head}<title>{escape(title)} · Chimera</title><style>{STYLE}</style></head>"
        f"<body><main>{body}</main></body></html>"
    )


def login_page(problem: str = "") -> str:
    said = f'<p class="bad" role="alert">{escape(problem)}</p>' if problem else ""
    return _page(
        "Log in",
        "<h1>Chimera</h1><p>Open the link that the start of the system printed, or log in with a password.</p>"
        f'{said}<form method="post" action="/auth/login">'
        '<label for="name">Name</label><input id="name" name="name" autocomplete="username" value="admin" required>'
        '<label for="password">Password</label>'
        '<input id="password" name="password" type="password" autocomplete="current-password" required autofocus>'
        "<button>Log in</button></form>"
        "<p><small>No password yet? <code>chimera password --name admin</code></small></p>",
    )


def welcome_page() -> str:
    """A page of ours in between: after a link from elsewhere, only a step from our own page sends a strict cookie."""
    return _page(
        "Welcome",
        f'<h1>You are logged in</h1><p>The overview opens by itself.</p><a class="go" href="{HOME}">Open it</a>',
        head=f'<meta http-equiv="refresh" content="0;url={HOME}">',
    )


def warming_up_page(day: int, days: int, note: str) -> str:
    """How far the start is; it looks again every second until something else answers under the same address."""
    shown = f"warming up, day {day} of {days}" if days > 0 else "starting"
    return _page(
        "Warming up",
        f'<h1>Chimera is {shown}</h1><progress value="{day}" max="{max(days, 1)}">{shown}</progress>'
        f'<p role="status">{escape(note)}</p>'
        "<p>The system trades the days before now on the simulated exchange, so that every figure it decides on has a "
        "past. Then it goes on live, and this page becomes the overview by itself.</p>",
        head='<meta http-equiv="refresh" content="1">',
    )


def problem_page(status: int, detail: str) -> str:
    """What went wrong and what to do; a page that waits for a dependency tries again by itself."""
    title = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else "Something went wrong"
    again = '<meta http-equiv="refresh" content="5">' if status == 503 else ""
    step = _NEXT_STEP.get(status, "Go back and try again; the log of this moment says more.")
    return _page(
        title,
        f'<h1>{escape(title)}</h1><p class="bad" role="alert">{escape(detail)}</p>'
        f"<p>{step}</p><p><small>{status}</small></p>",
        head=again,
    )
