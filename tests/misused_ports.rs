//! Ports in profiles and apps that are not as one would have them.

mod bed;
#[path = "common/kernel.rs"]
mod kernel;
#[path = "common/scripts.rs"]
mod scripts;

use std::fs;
use std::io::ErrorKind;
use std::net::TcpStream;

use bed::{Bed, get, pid};
use scripts::{python, says};
use serde_json::Value;

/// A profile text with other ports.
fn change_ports(bed: &Bed, app: &bed::App, from: &str, to: &str) {
    let path = bed.profile_path(app);
    let text = fs::read_to_string(&path).expect("just written");
    let changed = text.replace(&format!("ports = [{from}]"), &format!("ports = [{to}]"));
    assert_ne!(changed, text, "{text}");
    fs::write(&path, changed).expect("our own file");
}

#[test]
fn tcp_and_udp_of_one_number_are_two_ports() {
    let bed = Bed::running();
    let script = r#"
datagrams = socket(AF_INET, SOCK_DGRAM)
say(outcome(lambda: datagrams.bind(("", PORT))))
serve()
"#;
    let app = python(&bed, "shop", script, "");
    let other = python(&bed, "blog", script, "");
    change_ports(&bed, &app, &app.port.to_string(), &format!("{0}, \"{0}/udp\"", app.port));
    bed.start(&app);
    assert_eq!(says(&bed, &app, 1), ["ok"]);
    assert_eq!(get(app.port, "/").expect("it serves"), "ok");
    let ports: Value = serde_json::from_str(&bed.ok(&["ports", "shop", "--json"])).expect("JSON");
    let of = |at: usize| (ports["ports"][at]["proto"].clone(), ports["ports"][at]["state"].clone());
    assert_eq!((of(0), of(1)), (("tcp".into(), "held".into()), ("udp".into(), "reserved".into())));
    // Who owns the one does not own the other.
    bed.start(&other);
    assert_eq!(says(&bed, &other, 1), ["EACCES"]);
    bed.end();
}

#[test]
fn a_port_that_a_reload_drops_is_free_and_the_other_one_is_still_held() {
    let bed = Bed::running();
    let script = r#"
def second():
    globals().update(second=create_server(("", PORT + 1)))
say(outcome(second))
serve()
"#;
    let app = python(&bed, "shop", script, "");
    // In the bed's own network namespace the next number is nobody's.
    let (kept, dropped) = (app.port, app.port + 1);
    change_ports(&bed, &app, &kept.to_string(), &format!("{kept}, {dropped}"));
    bed.start(&app);
    assert_eq!(says(&bed, &app, 1), ["ok"]);
    TcpStream::connect(("127.0.0.1", dropped)).expect("it listens");
    change_ports(&bed, &app, &format!("{kept}, {dropped}"), &kept.to_string());
    bed.ok(&["reload", "shop"]);
    assert_eq!(says(&bed, &app, 2)[1], "EACCES", "the new one does not own it");
    let status = bed.status(&app);
    assert_eq!(status["ports"].as_array().map(Vec::len), Some(1), "{status:#}");
    assert_eq!(status["ports"][0]["state"], "held");
    let refused = TcpStream::connect(("127.0.0.1", dropped)).map_err(|error| error.kind());
    assert_eq!(refused.map(drop), Err(ErrorKind::ConnectionRefused));
    assert!(bed::is_free(dropped), "anybody may have it now");
    assert_eq!(get(kept, "/").expect("it serves"), "ok");
    bed.end();
}

#[test]
fn an_app_that_opens_and_never_listens_is_told_of_and_can_be_stopped() {
    let bed = Bed::running();
    let script = r#"
bound = tcp()
bound.bind(("", PORT))
say("bound")
while True: time.sleep(900)
"#;
    let app = python(&bed, "shop", script, "");
    bed.ok(&["start", "--no-wait", "shop"]);
    says(&bed, &app, 1);
    let status = bed.status(&app);
    assert_eq!(status["state"], "starting", "{status:#}");
    let said = bed.ok(&["show", "shop"]);
    assert!(said.contains(&format!("it does not listen on {} yet", app.port)), "{said}");
    let refused = get(app.port, "/").map_err(|error| error.kind());
    assert_eq!(refused, Err(ErrorKind::ConnectionRefused));
    bed.ok(&["stop", "shop"]);
    bed.end();
}

#[test]
fn an_app_that_tries_without_pause_costs_a_few_lines_and_disturbs_nobody() {
    let bed = Bed::running();
    let script = r#"
def storm():
    with tcp() as s:
        for _ in range(20000):
            outcome(lambda: s.bind(("", 4567)))
storm()
say("over")
serve()
"#;
    let blog = python(&bed, "blog", "serve()", "");
    let before = bed.start(&blog);
    let app = python(&bed, "shop", script, "");
    bed.ok(&["start", "--no-wait", "shop"]);
    for _ in 0..20 {
        assert_eq!(get(blog.port, "/").expect("undisturbed"), "ok");
    }
    says(&bed, &app, 1);
    bed.until(&app, "it serves", |status| status["state"] == "online");
    assert_eq!(pid(&bed.status(&blog)), pid(&before));
    // One at once; what followed is told once a minute.
    let refused = kernel::events(&bed, &app, "refused");
    assert_eq!(refused.len(), 1, "{refused:#?}");
    bed.end();
}
