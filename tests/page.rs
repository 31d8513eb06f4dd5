//! The page of `swrun web` in a real browser: what it shows, that it can be used by keys and on a phone, that what an app
//! logs is only ever text. With `SWRUN_PICTURES=docs/pictures` the pictures of the documentation are taken anew.
#![allow(
    unsafe_code,
    reason = "descriptors 3 and 4 for the browser, a terminal for the program under test"
)]

mod bed;
#[path = "common/browser.rs"]
mod browser;
#[path = "common/screen.rs"]
mod screen;
#[path = "common/watcher.rs"]
mod watcher;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use bed::{App, Bed, get, is_guest};
use browser::{Browser, PROGRAM};
use screen::Screen;
use serde_json::json;
use swrun::formats::history::History;
use swrun::model::Usage;
use watcher::{Watcher, Web};

const CEILING: u64 = 256 << 20;

fn lacks() -> bool {
    let lacks = is_guest() || !Path::new(PROGRAM).exists();
    if lacks {
        println!("skipped: there is no {PROGRAM} here");
    }
    lacks
}

/// A shop that says what it does.
const SHOP: &str = r#"
const keep = [];
require("http").createServer((request, response) => {
  const url = new URL(request.url, "http://shop");
  const lines = Number(url.searchParams.get("lines"));
  if (url.pathname === "/say") {
    for (let n = 1; n <= lines; n++) console.log(`GET /orders/${n} 200 ${(n * 37) % 23 + 2} ms`);
  } else if (url.pathname === "/fail") {
    for (let n = 1; n <= lines; n++) console.error(`payment ${n} timed out, it is tried again`);
  } else if (url.pathname === "/leak") {
    keep.push(Buffer.alloc(40 << 20, 1));
  } else if (url.pathname === "/crash") {
    process.exit(3);
  }
  response.end("ok");
}).listen(process.env.PORT, () => console.log(`shop listens on ${process.env.PORT}`));
"#;

/// Three environments with a day behind them, that was made: one that leaks over four lives, one with a wave, one that
/// is stopped.
struct Stage {
    bed: Bed,
    dev: App,
    prod: App,
}

impl Stage {
    fn new() -> Self {
        let bed = Bed::running();
        let mut apps = ["dev", "prod", "test"].map(|target| {
            let app = bed.app(&format!("backend-{target}"));
            fs::write(app.home.join("index.js"), SHOP).expect("ours");
            let more = format!(
                "target = \"{target}\"\nports = [{0}]\n[env]\nPORT = \"{0}\"\n[limits]\nmemory-max = \"256M\"\ncpu = \"150%\"\n",
                app.port
            );
            bed.profile(&app, &["node", "index.js"], &more);
            app
        });
        past(&bed, &apps[0], |minute| {
            let of_life = minute % 360;
            Some((
                0.15 + 0.75 * f64::from(of_life) / 360.0,
                minute / 360,
                3.0 + f64::from(minute % 7) / 20.0,
                of_life == 0,
            ))
        });
        past(&bed, &apps[1], |minute| {
            let wave = (f64::from(minute) / 1440.0 * std::f64::consts::TAU).sin();
            let noise = f64::from(minute * 7919 % 97) / 97.0;
            Some((0.34 + 0.1 * wave + 0.03 * noise, 1, 20.0 + 14.0 * wave + 6.0 * noise, false))
        });
        bed.ok(&["start"]);
        bed.ok(&["stop", "backend-test"]);
        for app in &apps[..2] {
            get(app.port, "/leak").expect("it serves");
            get(app.port, "/say?lines=20").expect("it serves");
            get(app.port, "/fail?lines=3").expect("it serves");
        }
        apps.reverse();
        let [_, prod, dev] = apps;
        Self { bed, dev, prod }
    }
}

/// A day of minutes: share of the ceiling, life, CPU, whether an instance ended.
fn past(bed: &Bed, app: &App, minute: impl Fn(u32) -> Option<(f64, u32, f64, bool)>) {
    let folder = bed.root().join("var/lib/swrun/env");
    let (mut history, _) =
        History::open(&folder.join(format!("{}.history", app.name))).expect("begun");
    let now =
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
    for index in 0..1440 {
        let Some((share, life, cpu, ended)) = minute(index) else { continue };
        let anon = (share * CEILING as f64) as u64;
        let usage = Usage {
            at: now - 1440 * 60 - 60 + u64::from(index) * 60,
            life,
            instances: 1,
            current: Some(anon + (24 << 20)),
            anon: Some(anon),
            cpu: Some(cpu),
            pids: Some(11),
            pressure: [Some(if share > 0.8 { 2.5 } else { 0.0 }), Some(0.0), Some(0.0)],
            queue: Some(u64::from(index % 180 == 0) * 3),
            restarts: u16::from(ended),
            ..Usage::default()
        };
        history.add(&usage, false).expect("written");
    }
}

/// The page, open, in a browser.
fn open(bed: &Bed) -> (Web, Browser) {
    let web = Web::start(bed, &["--listen", "127.0.0.1:0"]);
    let mut browser = Browser::start(&bed.root().join("browser"));
    browser.size(1280, 900, false);
    browser.scheme("light");
    browser.open(web.url());
    browser.until(
        "it is drawn",
        "document.querySelector('#list a') && !document.getElementById('detail').hidden",
    );
    (web, browser)
}

/// Nothing went wrong, and all that it loaded came from here.
#[track_caller]
fn is_well(browser: &mut Browser, web: &Web) {
    let (address, _) = web.parts();
    let own = format!("http://{address}/");
    let strangers: Vec<_> =
        browser.asked().into_iter().filter(|url| !url.starts_with(&own)).collect();
    assert_eq!(strangers, Vec::<String>::new());
    assert_eq!(browser.troubles(), Vec::<String>::new());
}

#[test]
fn it_shows_everything_and_can_be_used_by_keys() {
    if lacks() {
        return;
    }
    let _watcher = Watcher::on_this_host();
    let stage = Stage::new();
    let (web, mut browser) = open(&stage.bed);
    // The token is not left in the address bar.
    assert_eq!(browser.js("location.href"), format!("http://{}/", web.parts().0));
    let list = browser.text("#list");
    for part in ["backend-dev", "backend-prod", "backend-test", "online", "stopped", "of 256M"] {
        assert!(list.contains(part), "{part} in {list}");
    }
    browser.until("the verdict", "document.getElementById('leak').innerText.includes('leaking')");
    assert!(browser.text("#leak").contains("an hour"));
    browser
        .until("the memory of now", "document.getElementById('facts').innerText.includes('256M')");
    assert!(browser.text("#host").contains("load") && browser.text("#runner").contains("runner"));
    browser.until("events", "document.querySelector('#events').innerText.includes('started')");
    browser.until("the log", "document.querySelector('#log').innerText.includes('/orders/20 ')");

    // A chart that was drawn of the history: its line covers most of the width, and it says what it shows.
    let chart = "document.querySelector('figure.memory svg')";
    browser.press("3");
    browser.until(
        "a day",
        &format!("{chart}?.querySelector('.stroke')?.getBBox().width > {chart}.clientWidth * 0.8"),
    );
    browser.until("its ceiling", &format!("{chart}.querySelector('.ceiling')"));
    browser.until("ends of instances", &format!("{chart}.querySelectorAll('.mark').length >= 3"));
    let label = browser.js(&format!(
        "{chart}.getAttribute('aria-label') + ': ' + {chart}.getAttribute('aria-valuetext')"
    ));
    let label = label.as_str().expect("a text");
    assert!(
        label.starts_with("Memory") && label.contains("at most") && label.contains("of 256M"),
        "{label}"
    );
    assert_eq!(
        browser.js("document.querySelector('#stretch [aria-checked=true]').innerText"),
        "24 h"
    );
    // Read by arrow keys.
    browser.js(&format!("{chart}.focus()"));
    let reading = "document.querySelector('figure.memory .reading').innerText";
    browser.press("ArrowLeft");
    let first = browser.js(reading);
    browser.press("ArrowLeft");
    let second = browser.js(reading);
    assert!(
        first != second && first.as_str().is_some_and(|text| text.contains("with page cache")),
        "{first} {second}"
    );

    // What is logged comes by itself, and can be filtered and held.
    get(stage.dev.port, "/say?lines=21").expect("it serves");
    browser
        .until("what is new", "document.querySelector('#log').innerText.includes('/orders/21 ')");
    browser.press("/");
    browser.write("payment 2");
    browser.until("the filter", "[...document.querySelectorAll('#log div')].length === 1");
    browser.press("Escape");
    browser.js("document.getElementById('filter').value = ''; document.getElementById('filter').dispatchEvent(new Event('input'))");
    browser.press("p");
    get(stage.dev.port, "/say?lines=22").expect("it serves");
    assert_eq!(browser.js("document.getElementById('pause').getAttribute('aria-pressed')"), "true");
    browser.press("p");
    browser.until("it goes on", "document.querySelector('#log').innerText.includes('/orders/22 ')");

    // Each line once.
    get(stage.dev.port, "/fail?lines=9").expect("it serves");
    browser.until("the next", "document.querySelector('#log').innerText.includes('payment 9')");
    assert_eq!(browser.text("#log").matches("/orders/22 ").count(), 1);

    // Another environment, its own log and charts: nothing of the one before stands under its name.
    browser.js("document.querySelector('#list a[href=\"#backend-test\"]').click()");
    browser.until(
        "one that is stopped",
        "/^(nothing known|last )/.test(document.querySelector('figure.memory .reading').innerText)",
    );
    browser.press("k");
    browser.until("the one before", "document.getElementById('name').innerText === 'backend-prod' && location.hash === '#backend-prod'");
    browser.until("its log", "document.querySelectorAll('#log div').length > 20");
    assert!(!browser.text("#log").contains("/orders/21 "), "of the other one");
    browser.press("j");
    browser
        .until("one that is stopped", "document.getElementById('state').innerText === 'stopped'");
    browser.press("k");
    // A crash, as it happens.
    let _ = get(stage.prod.port, "/crash");
    browser
        .until("it is told", "document.querySelector('#events').innerText.includes('exit code 3')");
    browser.until(
        "and in the list",
        "document.querySelector('#list').innerText.includes('1 restart')",
    );

    browser.press("?");
    browser.until("help", "document.getElementById('keys').open");
    browser.press("Escape");
    browser.until("it is closed", "!document.getElementById('keys').open");
    browser.press("t");
    browser.press("t");
    assert_eq!(browser.js("document.documentElement.dataset.theme"), "dark");
    // Whatever can be used has a name, and a ring when it has the focus.
    let nameless = "[...document.querySelectorAll('button, input, select, a, [tabindex]')].filter(n => n.getClientRects().length && !(n.innerText || n.value || n.getAttribute('aria-label') || n.labels?.length || n.id === 'detail')).map(n => n.outerHTML)";
    assert_eq!(browser.js(nameless), json!([]));
    browser.press("Tab");
    browser.until("a ring", "getComputedStyle(document.activeElement).outlineStyle !== 'none'");
    is_well(&mut browser, &web);
    drop((browser, web));
    stage.bed.end();
}

#[test]
fn what_an_app_logs_is_only_ever_text() {
    if lacks() {
        return;
    }
    let _watcher = Watcher::on_this_host();
    let bed = Bed::running();
    let app = bed.app("shop");
    let hostile = [
        "<script>window.owned = 1</script>",
        "<img src=x onerror=\"window.owned = 2\">",
        "</div></main><iframe src=\"javascript:parent.owned=3\"></iframe>",
        "\",\"stream\":\"out\"}]};window.owned=4;//",
        "\u{1b}]0;title\u{7}\u{1b}[2J\u{1b}[31mred",
        "\u{202e}txt.exe \u{2066}hidden\u{2069} \u{200b}",
        "{{constructor.constructor('window.owned=5')()}} ${window.owned=6}",
        "&lt;b&gt; &#x3c;script&#x3e;",
        "\0\u{8}\u{7f}",
    ];
    let script = app.home.join("index.js");
    let lines = json!(hostile);
    let text = format!(
        "const lines = {lines};\nfor (const line of lines) {{ console.log(line); console.error(line); }}\nprocess.stdout.write(Buffer.from([0xff, 0xfe, 0x3c, 0x62, 0x3e, 10]));\nconsole.log('x'.repeat(20000));\nconsole.log('the end');\nprocess.title = '<script>window.owned=7</script>';\nrequire('http').createServer((q, s) => s.end('ok')).listen(process.env.PORT);\n"
    );
    fs::write(&script, text).expect("ours");
    let head = format!("ports = [{}]\n[env]\nPORT = \"{}\"\n", app.port, app.port);
    bed.profile(&app, &["node", "index.js"], &head);
    bed.start(&app);
    let (web, mut browser) = open(&bed);
    browser.until("all of it", "document.querySelector('#log').innerText.includes('the end')");
    assert_eq!(browser.js("typeof window.owned"), "undefined");
    assert_eq!(browser.js("document.title.startsWith('shop')"), true);
    // Nothing but what the page itself makes.
    let kinds =
        "[...new Set([...document.querySelectorAll('#log *')].map(node => node.tagName))].sort()";
    assert_eq!(browser.js(kinds), json!(["DIV", "SMALL", "TIME"]));
    assert_eq!(browser.js("document.querySelectorAll('script, iframe, img').length"), 2);
    let shown = browser.js("document.querySelector('#log').textContent");
    let shown = shown.as_str().expect("a text");
    for part in [
        "<script>window.owned = 1</script>",
        "<img src=x onerror=\"window.owned = 2\">",
        "\\x1b]0;title\\x07\\x1b[2J\\x1b[31mred",
        "\\u{202e}txt.exe \\u{2066}hidden\\u{2069} \\u{200b}",
        "&lt;b&gt; &#x3c;script&#x3e;",
        "\\x00\\x08\\x7f",
    ] {
        assert_eq!(shown.matches(part).count(), 2, "{part} in {shown:.3000}");
    }
    assert!(!shown.contains('\u{202e}') && !shown.contains('\u{1b}'));
    // A flood: the page stays usable and bounded, and says what it left out.
    get(app.port, "/").expect("it serves");
    let flood = "let n = 0; const more = () => { for (let i = 0; i < 2000; i++) console.log('flood ' + n++); if (n < 200000) setImmediate(more); else console.log('flood over'); }; more();";
    fs::write(&script, format!("{flood}\nrequire('http').createServer((q, s) => s.end('ok')).listen(process.env.PORT);\n")).expect("ours");
    bed.ok(&["restart", "shop"]);
    browser.until("its end", "document.querySelector('#log').innerText.includes('flood over')");
    let counted = browser.js("document.querySelectorAll('#log div').length");
    assert!(counted.as_u64().is_some_and(|count| count <= 1000), "{counted}");
    is_well(&mut browser, &web);
    drop((browser, web));
    bed.end();
}

#[test]
fn it_says_who_is_away_and_asks_for_the_token() {
    if lacks() {
        return;
    }
    let _watcher = Watcher::on_this_host();
    let mut stage = Stage::new();
    let (web, mut browser) = open(&stage.bed);
    stage.bed.kill_daemon();
    browser.until("the runner is away", "!document.getElementById('away').hidden && document.getElementById('away').innerText.includes('the runner is not running')");
    stage.bed.daemon();
    browser.until("it is back", "document.getElementById('away').hidden");
    // A wrong one, then the right one by hand.
    let (address, token) = web.parts();
    browser.js("sessionStorage.clear()");
    browser.open(&format!("http://{address}/?again#token={}", "0".repeat(64)));
    browser.until(
        "it asks",
        "document.getElementById('door')?.open && !document.getElementById('wrong').hidden",
    );
    assert_eq!(browser.js("document.querySelectorAll('#list li').length"), 0);
    browser.write(token);
    browser.press("Enter");
    browser.until("it is let in", "document.querySelectorAll('#list li').length === 3");
    drop(web);
    browser.until(
        "the page's own server is away",
        "document.getElementById('away').innerText.includes('is \"swrun web\" running?')",
    );
    drop(browser);
    stage.bed.end();
}

#[test]
fn it_fits_a_phone_and_is_light_and_dark() {
    if lacks() {
        return;
    }
    let _watcher = Watcher::on_this_host();
    let stage = Stage::new();
    let (web, mut browser) = open(&stage.bed);
    browser.press("3");
    browser.until("the verdict", "document.getElementById('leak').innerText.includes('leaking')");
    browser
        .until("a day", "document.querySelector('figure.memory .stroke')?.getBBox().width > 300");
    browser.until("the log", "document.querySelector('#log').innerText.includes('/orders/20 ')");
    let folder = std::env::var_os("SWRUN_PICTURES").map(PathBuf::from);
    let folder = folder.unwrap_or_else(|| stage.bed.root().join("pictures"));
    fs::create_dir_all(&folder).expect("ours");
    let keep = |name: &str, picture: &[u8]| fs::write(folder.join(name), picture).expect("ours");
    browser.size(1280, 1400, false);
    let light = browser.picture();
    keep("page-light.png", &light);
    browser.scheme("dark");
    browser.press("j");
    browser.until("another", "document.getElementById('name').innerText === 'backend-prod' && document.querySelectorAll('#log div').length > 20");
    browser.until("its day", "document.querySelector('figure.cpu .stroke')?.getBBox().height > 20");
    let dark = browser.picture();
    keep("page-dark.png", &dark);
    // The ground of both, and that what is written stands out from it (WCAG 2: 4.5 to 1).
    let contrast = "(() => { const part = (c) => { c /= 255; return c <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4 }; const light = (node, what) => { const c = document.createElement('canvas').getContext('2d'); c.fillStyle = getComputedStyle(node)[what]; c.fillRect(0, 0, 1, 1); const [r, g, b] = c.getImageData(0, 0, 1, 1).data; return .2126 * part(r) + .7152 * part(g) + .0722 * part(b) }; const ground = light(document.querySelector('section'), 'backgroundColor'); return [...document.querySelectorAll('h2, h3, dt, dd, #events span, #events time, .pill, figcaption .reading, #log .err, #log time')].map(n => { const own = light(n, 'color'); return (Math.max(own, ground) + .05) / (Math.min(own, ground) + .05) }).reduce((a, b) => Math.min(a, b)) })()";
    for scheme in ["light", "dark"] {
        browser.scheme(scheme);
        let least = browser.js(contrast);
        assert!(least.as_f64().is_some_and(|least| least >= 4.5), "{scheme}: {least}");
    }
    browser.scheme("light");
    // A phone: nothing to scroll sideways but the list, and fingers hit what is to be hit.
    browser.size(390, 844, true);
    browser.until("it fits", "document.documentElement.scrollWidth <= 390");
    let small = "[...document.querySelectorAll('button, select, input, #list a')].filter(n => n.getClientRects().length && n.getBoundingClientRect().height < 40).map(n => n.outerHTML)";
    assert_eq!(browser.js(small), json!([]));
    keep("page-phone.png", &browser.picture());
    is_well(&mut browser, &web);

    // The terminal's side of it.
    let mut picture = |arguments: &[&str], rows, columns, is: &dyn Fn(&str) -> bool, name: &str| {
        let mut command = Command::new(bed::swrun());
        command.args(arguments).arg("--root").arg(stage.bed.root());
        let screen = Screen::start(&mut command, rows, columns);
        screen.until(name, is);
        let html = screen.html();
        browser.open("about:blank");
        let tree = browser.call("Page.getFrameTree", json!({}));
        browser.call(
            "Page.setDocumentContent",
            json!({"frameId": tree["frameTree"]["frame"]["id"], "html": html}),
        );
        let size = browser.js("(() => { const r = document.querySelector('pre').getBoundingClientRect(); return [Math.ceil(r.width), Math.ceil(r.height)] })()");
        let side =
            |index: usize| u32::try_from(size[index].as_u64().expect("a size")).expect("small");
        browser.size(side(0), side(1), false);
        keep(name, &browser.picture());
    };
    picture(&["status"], 14, 110, &|text| text.contains("host: memory"), "status.png");
    let is_whole = |text: &str| text.contains("/orders/20 ") && text.contains("anon ");
    picture(&["monit"], 30, 110, &is_whole, "monit.png");
    drop((browser, web));
    stage.bed.end();
}
