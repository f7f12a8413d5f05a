//! The page in a real browser, and its doors from outside.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::json;
use vod_cover::sim::{NewVideo, Settings};

use crate::browser::Browser;
use crate::covers::{deliver, post};
use crate::servers::{amqp_url, redis_url};
use crate::wait::eventually;
use crate::world::{Program, World, http};

const SOON: Duration = Duration::from_secs(60);
const TOKEN: &str = "an operators token";
const TAB: &str = "\u{e004}";

fn videos(videos: u32) -> Settings {
    Settings { videos, ..Settings::default() }
}

async fn run(world: &World, more: &[(&str, &str)]) -> Program {
    world.run(&[&[("VOD_COVER_OPS_TOKEN", TOKEN)], more].concat()).await
}

async fn log_in(browser: &Browser, site: &str) {
    browser.open(&format!("{site}/login")).await;
    browser.write("#token", TOKEN).await;
    browser.click("main button").await;
    browser.sees("document.querySelector('form[action=\"/logout\"]')").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn decisions_appear_as_they_are_made_and_an_operator_chooses_another_cover() {
    let world = World::embedded(videos(4)).await;
    let program =
        run(&world, &[("VOD_COVER__COVER__RULES", "best"), ("VOD_COVER__LEDGER__LEASE", "60s")])
            .await;
    let (browser, site) = (Browser::start().await, format!("http://{}", program.ops));
    browser.open(&format!("{site}/")).await;
    browser.sees("!document.getElementById('none').hidden").await;

    // Live: nobody loads the page again.
    for event in world.sim.shuffled_events(0.3) {
        deliver(&program, &event).await;
    }
    browser.sees("document.querySelectorAll('#decisions > article').length === 4").await;
    let chosen = "[...document.querySelectorAll('#decisions > article')]\
                  .every(one => one.querySelectorAll('.strip .chosen .badge').length === 1)";
    browser.sees(chosen).await;
    browser.sees("document.querySelector('#state').textContent.includes('Taking events')").await;
    let loaded = "[...document.images].filter(one => one.checkVisibility() && one.y < innerHeight)\
                  .every(one => one.complete && one.naturalWidth > 0)";
    browser.sees(loaded).await;
    // The picture of the README: VOD_COVER_SCREENSHOT=src/ops/page/screenshot.png.
    let size = json!({ "width": 860, "height": 560, "deviceScaleFactor": 1, "mobile": false });
    browser.devtools("Emulation.setDeviceMetricsOverride", size).await;
    browser.sees(loaded).await;
    let picture = browser.picture().await;
    assert!(picture.starts_with(b"\x89PNG"));
    if let Ok(file) = std::env::var("VOD_COVER_SCREENSHOT") {
        std::fs::write(file, picture).unwrap();
    }
    browser.devtools("Emulation.clearDeviceMetricsOverride", json!({})).await;

    // A filter, then one of the videos.
    let video = browser.eval("return document.querySelector('h2 a').textContent").await;
    let video = video.as_str().unwrap().to_owned();
    browser.write("input[name=video]", &video).await;
    browser.click(".filter button").await;
    browser.sees("document.querySelectorAll('article').length === 1").await;
    browser.click("h2 a").await;
    browser.sees("document.querySelector('.story').textContent.includes('rule best')").await;
    let buttons = "document.querySelectorAll('form[action=\"/video/cover\"] button').length";
    assert_eq!(browser.eval(&format!("return {buttons}")).await, json!(0), "nobody is logged in");

    // Only with the token.
    browser.open(&format!("{site}/login")).await;
    browser.write("#token", "another token").await;
    browser.click("main button").await;
    browser.sees("document.querySelector('[role=alert]')").await;
    let _refusal = browser.console().await;
    log_in(&browser, &site).await;
    browser.open(&format!("{site}/video?id={video}")).await;
    browser.sees(&format!("{buttons} > 0")).await;
    let before = world.sim.cover_of(&video).unwrap();
    browser.click("form[action='/video/cover'] button").await;
    let changed = async || world.sim.cover_of(&video).is_some_and(|cover| cover != before);
    eventually("the cover is another", SOON, changed).await;
    browser.sees("document.querySelector('.story').textContent.includes(\"the operator's\")").await;
    let number = "document.querySelector('.sheet .chosen figcaption').textContent";
    let shown = browser.eval(&format!("return {number}")).await;
    let shown = shown.as_str().unwrap();
    let now = world.sim.cover_of(&video).unwrap();
    let digit = now.trim_end_matches(".jpg").chars().last().unwrap();
    assert!(shown.starts_with(&format!("snapshot {digit}")), "{shown} is {now}");
    browser.click("form[action='/logout'] button").await;
    browser.sees("document.querySelector('a[href=\"/login\"]')").await;
    assert_eq!(browser.console().await, Vec::<String>::new());
}

async fn dead_letters_are_mended(world: World) {
    world.sim.set_faults(vec!["not-found".parse().unwrap()]);
    let program = run(&world, &[]).await;
    let (browser, site) = (Browser::start().await, format!("http://{}", program.ops));
    let file = world.directory.path().join("events.ndjson");
    let mut lines = b"no <b>event</b>\n".to_vec();
    for event in world.sim.shuffled_events(0.0) {
        lines.extend_from_slice(&event);
        lines.push(b'\n');
    }
    std::fs::write(&file, lines).unwrap();
    let published = world.command(&["publish", file.to_str().unwrap()], &[]).output().unwrap();
    assert!(published.status.success(), "{published:?}");
    let dead = async || program.metric("vod_cover_dead_letters_total", "").await;
    eventually("all are dead", SOON, async || dead().await == 3.0).await;
    log_in(&browser, &site).await;
    browser.open(&format!("{site}/dead")).await;
    browser.sees("document.querySelectorAll('.group').length === 3").await;
    browser.sees("document.querySelectorAll('.letters li').length === 3").await;

    // What would happen, before and after the cause is gone.
    let group = |action: &str| {
        format!(
            ".group:has(input[name=group][value='vod.InvalidVideo.NotFound']) > .deeds form[action='{action}'] button"
        )
    };
    browser.click(&group("/dead/foresee")).await;
    let says =
        |text: &str| format!("document.querySelector('.letters').textContent.includes('{text}')");
    browser.sees(&says("would be a dead letter again: vod.InvalidVideo.NotFound")).await;
    world.sim.clear_faults();
    browser.open(&format!("{site}/dead")).await;
    browser.click(&group("/dead/foresee")).await;
    browser.sees(&says("by rule first")).await;
    assert!(world.changes().is_empty());

    // One, then its group, then garbage away.
    browser.click(".letters form[action='/dead/retry'] button").await;
    eventually("one cover is set", SOON, async || world.changes().len() == 1).await;
    browser.open(&format!("{site}/dead")).await;
    browser.click(&group("/dead/retry")).await;
    world.every_cover_is_set(SOON).await;
    browser.open(&format!("{site}/dead")).await;
    browser.sees("document.querySelectorAll('.letters li').length === 1").await;
    browser.click(".letters a").await;
    browser.sees("document.querySelector('pre').textContent.includes('no <b>event</b>')").await;
    browser.click("form[action='/dead/drop'] button").await;
    browser.sees("document.querySelector('h1').textContent.startsWith('Drop dead letter')").await;
    browser.click("main form button").await;
    browser.sees("document.querySelector('main').textContent.includes('0 in all')").await;
    browser.sees("document.querySelector('[role=status]').textContent.includes('1 dropped')").await;
    assert_eq!(browser.console().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_mended_on_the_page_with_the_embedded_file() {
    dead_letters_are_mended(World::embedded(videos(2)).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_mended_on_the_page_with_rabbitmq() {
    dead_letters_are_mended(World::served(videos(2), &amqp_url(), &redis_url()).await).await;
}

/// What runs if any of it is taken for markup.
const PAYLOADS: [&str; 4] = [
    "<img src=x onerror=window.hacked=1>",
    "\"><script>window.hacked=1</script>",
    "'><svg/onload=window.hacked=1>",
    "</title><a href=javascript:window.hacked=1 autofocus onfocus=window.hacked=1>x",
];

#[tokio::test(flavor = "multi_thread")]
async fn strangers_text_is_text_wherever_it_is_shown() {
    let world = World::embedded(videos(0)).await;
    let program = run(&world, &[]).await;
    let (browser, site) = (Browser::start().await, format!("http://{}", program.ops));
    let mut pages = vec!["/".to_owned(), "/dead".to_owned()];
    for payload in PAYLOADS {
        let title = Some(payload.to_owned());
        let video = world.sim.add_video(NewVideo { title, ..NewVideo::default() }).unwrap();
        for event in world.sim.events(&video) {
            let mut event: serde_json::Value = serde_json::from_slice(&event).unwrap();
            event["Extend"] = json!(payload);
            deliver(&program, event.to_string().as_bytes()).await;
        }
        pages.push(format!("/video?id={video}"));
        // A VideoId that VOD does not know, of what a VideoId may consist of; a picture's address; garbage.
        let id: String = payload.chars().filter(|c| !" \"{},\\".contains(*c)).take(64).collect();
        let address = format!("http://{}/{payload}/a.jpg", world.sim.address()).replace('"', "%22");
        let odd = json!({
            "EventType": "SnapshotComplete", "VideoId": id, "Status": "success", "Extend": payload,
            "SnapshotInfos": [{ "SnapshotType": "CoverSnapshot", "SnapshotCount": 1, "Status": "success",
                                "JobId": payload, "SnapshotRegular": address }],
        });
        deliver(&program, odd.to_string().as_bytes()).await;
        let other = json!({ "EventType": "SnapshotComplete", "Extend": payload });
        deliver(&program, other.to_string().as_bytes()).await;
        let query: String = url::form_urlencoded::byte_serialize(payload.as_bytes()).collect();
        pages.push(format!("/?rule={query}&video={query}&outcome={query}"));
        pages.push(format!("/video?id={query}"));
        pages.push(format!("/dead?video={query}"));
        pages.push(format!("/dead/drop?key={query}&group={query}"));
        pages.push(format!("/dead/foresee?group={query}"));
    }
    let settled = async || {
        let waits = program.metric("vod_cover_queue_messages", "state=\"ready\"").await
            + program.metric("vod_cover_queue_messages", "state=\"delayed\"").await
            + program.metric("vod_cover_in_flight", "").await;
        waits == 0.0 && program.metric("vod_cover_dead_letters_total", "").await >= 5.0
    };
    eventually("all is handled", SOON, settled).await;
    pages.push("/dead/foresee?all=yes".to_owned());
    log_in(&browser, &site).await;
    let dead = browser.eval("return fetch('/dead').then(answer => answer.text())").await;
    for key in dead.as_str().unwrap().split("/dead/letter?key=").skip(1) {
        pages.push(format!("/dead/letter?key={}", &key[..12]));
    }
    assert!(pages.iter().filter(|page| page.starts_with("/dead/letter")).count() >= 5, "{pages:?}");
    let hurt = "window.hacked || document.querySelector('main [onerror], main svg, main script, main [onfocus]')";
    let mut shown = false;
    for page in &pages {
        browser.open(&format!("{site}{page}")).await;
        let (found, text) = (
            browser.eval(&format!("return Boolean({hurt})")).await,
            browser.eval("return document.body.innerText").await,
        );
        assert_eq!(found, json!(false), "{page}: {text}");
        shown |= text.as_str().unwrap().contains("<img src=x onerror=window.hacked=1>");
        let said = browser.console().await;
        let said: Vec<_> =
            said.iter().filter(|line| !line.contains("Failed to load resource")).collect();
        assert!(said.is_empty(), "{page}: {said:?}");
    }
    assert!(shown, "the payloads are shown, as text");
}

/// Of every text that is shown: how it contrasts with what is behind it, by WCAG 2.
const CONTRASTS: &str = r#"
const light = c => { c /= 255; return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
const parsed = text => text.match(/[\d.]+/g).map(Number);
const luminance = ([r, g, b]) => 0.2126 * light(r) + 0.7152 * light(g) + 0.0722 * light(b);
const behind = element => {
  for (let at = element; at; at = at.parentElement) {
    const colour = parsed(getComputedStyle(at).backgroundColor);
    if (colour.length === 3 || colour[3] > 0) return colour;
  }
  return [255, 255, 255];
};
const low = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
let texts = 0;
while (walker.nextNode()) {
  const element = walker.currentNode.parentElement;
  if (!walker.currentNode.textContent.trim() || !element.checkVisibility()) continue;
  texts += 1;
  const style = getComputedStyle(element);
  const [a, b] = [luminance(parsed(style.color)), luminance(behind(element))];
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (ratio < 4.5) low.push(`${walker.currentNode.textContent.trim()}: ${ratio.toFixed(2)}`);
}
return texts === 0 ? ["no text"] : low;
"#;

#[tokio::test(flavor = "multi_thread")]
async fn the_page_can_be_used_on_a_phone_by_keyboard_and_by_weak_eyes() {
    let world = World::embedded(videos(2)).await;
    let program = run(&world, &[]).await;
    let (browser, site) = (Browser::start().await, format!("http://{}", program.ops));
    deliver(&program, br#"{"EventType":"SnapshotComplete"}"#).await;
    for event in world.sim.shuffled_events(0.0) {
        deliver(&program, &event).await;
    }
    world.every_cover_is_set(SOON).await;
    log_in(&browser, &site).await;
    let phone = json!({ "width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": true });
    browser.devtools("Emulation.setDeviceMetricsOverride", phone).await;
    let video = format!("/video?id={}", world.sim.videos()[0]);
    for page in ["/", "/login", "/dead", "/dead/drop?all=yes", "/dead/foresee?all=yes", &video] {
        browser.open(&format!("{site}{page}")).await;
        browser.sees("document.querySelector('main h1, main form')").await;
        let wide = browser.eval("return document.documentElement.scrollWidth").await;
        assert_eq!(wide, json!(360), "{page} is wider than the screen");
        for scheme in ["light", "dark"] {
            let features = json!([{ "name": "prefers-color-scheme", "value": scheme },
                                  { "name": "prefers-reduced-motion", "value": "reduce" }]);
            browser.devtools("Emulation.setEmulatedMedia", json!({ "features": features })).await;
            assert_eq!(browser.eval(CONTRASTS).await, json!([]), "{page} in {scheme}");
        }
        let named = "return [...document.querySelectorAll('input:not([type=hidden], [hidden]), select, img')]\
            .filter(one => one.tagName === 'IMG' ? !one.alt : one.labels.length === 0).length";
        assert_eq!(browser.eval(named).await, json!(0), "{page} has things without a name");
        let controls = "[...document.querySelectorAll('a, button, input, select, summary')]\
            .filter(one => one.type !== 'hidden' && one.checkVisibility())";
        let count = browser.eval(&format!("return {controls}.length")).await.as_u64().unwrap();
        assert!(count > 0, "{page}");
        for _ in 0..count + 2 {
            browser.press(TAB).await;
            browser.eval("document.activeElement.dataset.reached = '1'").await;
        }
        let missed = format!(
            "return {controls}.filter(one => !one.dataset.reached).map(one => one.outerHTML)"
        );
        assert_eq!(browser.eval(&missed).await, json!([]), "{page} by keyboard");
    }
    assert_eq!(browser.console().await, Vec::<String>::new());
}

/// Posts a form, following no redirect.
async fn send(url: &str, form: &str, headers: &[(&str, &str)]) -> StatusCode {
    let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    let request = client.build().unwrap().post(url).body(form.to_owned());
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    let request =
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request.send().await.unwrap().status()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_changes_without_the_token_or_from_another_site() {
    let world = World::embedded(videos(1)).await;
    let program = run(&world, &[]).await;
    let site = format!("http://{}", program.ops);
    assert_eq!(post(&program, b"{}".to_vec()).await, 400);
    let event = br#"{"EventType":"SnapshotComplete"}"#;
    deliver(&program, event).await;
    let dead = async || program.metric("vod_cover_dead_letters_total", "").await == 1.0;
    eventually("one is dead", SOON, dead).await;

    let bearer = format!("Bearer {TOKEN}");
    let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    let login = client.build().unwrap().post(format!("{site}/login"));
    let login = login.header("content-type", "application/x-www-form-urlencoded");
    let answer = login.body("token=an+operators+token").send().await.unwrap();
    let cookie =
        answer.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    assert!(
        answer.headers()["set-cookie"].to_str().unwrap().ends_with("HttpOnly; SameSite=Strict")
    );
    for path in ["/video/cover", "/dead/retry", "/dead/drop", "/logout"] {
        let url = format!("{site}{path}");
        let form = "all=yes&video=v&url=http://h/a.jpg&signature=0";
        for headers in [
            &[][..],
            &[("authorization", "Bearer an operators tokem")],
            &[("authorization", "Bearer ")],
            &[("authorization", bearer.as_str()), ("origin", "http://evil.example")],
            &[("authorization", bearer.as_str()), ("sec-fetch-site", "cross-site")],
            &[("cookie", "vod-cover=99999999999.a.b")],
            // With the cookie, but not by a form of ours.
            &[("cookie", cookie.as_str())],
            &[("cookie", cookie.as_str()), ("origin", "null")],
        ] {
            assert_eq!(send(&url, form, headers).await, 403, "{path} {headers:?}");
        }
        let worded = format!("{form}&word=00000000000000000000000000000000");
        assert_eq!(send(&url, &worded, &[("cookie", &cookie)]).await, 403, "{path}");
    }
    // Not even an operator: the page did not offer this cover.
    let choice = format!("video={}&url=http://h/a.jpg&signature=0", world.sim.videos()[0]);
    let headers = [("authorization", bearer.as_str())];
    assert_eq!(send(&format!("{site}/video/cover"), &choice, &headers).await, 403);
    assert!(world.changes().is_empty());
    assert_eq!(send(&format!("{site}/dead/drop"), "", &headers).await, 400, "it says not which");
    let seen = http().get(format!("{site}/dead")).send().await.unwrap().text().await.unwrap();
    assert!(seen.contains("1 in all") && !seen.contains("action=\"/dead/retry\""), "{seen}");
    // The same from a script that has the token.
    assert_eq!(send(&format!("{site}/dead/drop"), "all=yes", &headers).await, 303);
    let seen = http().get(format!("{site}/dead")).send().await.unwrap().text().await.unwrap();
    assert!(seen.contains("0 in all"), "{seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_seen_under_its_own_name_only_and_shows_no_picture_that_it_did_not_sign() {
    let world = World::embedded(videos(1)).await;
    let program = world.run(&[]).await;
    let site = format!("http://{}", program.ops);
    let get = async |path: &str, host: Option<&str>| {
        let request = http().get(format!("{site}{path}"));
        let request = host.iter().fold(request, |request, host| request.header("host", *host));
        request.send().await.unwrap()
    };
    assert_eq!(get("/", None).await.status(), 200);
    for path in ["/", "/dead", "/decisions", "/state", "/video?id=a", "/login"] {
        let answer = get(path, Some("evil.example")).await;
        assert_eq!(answer.status(), 403, "{path}");
        assert!(answer.text().await.unwrap().contains("VOD_COVER_OPS_TOKEN"), "{path}");
    }
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(get(path, Some("evil.example")).await.status(), 200, "{path}");
    }
    let policy = get("/", None).await.headers()["content-security-policy"].clone();
    let policy = policy.to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");

    let snapshot = world.sim.snapshots_of(&world.sim.videos()[0]).remove(0);
    let encoded: String = url::form_urlencoded::byte_serialize(snapshot.as_bytes()).collect();
    let until = jiff::Timestamp::now().as_second() + 3600;
    let forged =
        format!("/picture?url={encoded}&until={until}&signature=00112233445566778899aabbccddeeff");
    assert_eq!(get(&forged, None).await.status(), 403);
    for event in world.sim.shuffled_events(0.0) {
        deliver(&program, &event).await;
    }
    world.every_cover_is_set(SOON).await;
    let page = get("/decisions", None).await.text().await.unwrap();
    let signed =
        page.split("src=\"").nth(1).unwrap().split('"').next().unwrap().replace("&amp;", "&");
    let picture = get(&signed, None).await;
    assert_eq!(picture.headers()["content-type"], "image/jpeg");
    assert!(picture.bytes().await.unwrap().starts_with(b"\xff\xd8\xff"));
    let other = signed.replace("-0000", "-1000");
    assert_ne!(other, signed);
    assert_eq!(get(&other, None).await.status(), 403, "signed for another picture");
}
