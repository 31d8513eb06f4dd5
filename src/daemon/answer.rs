//! Answers to requests: who may, what is known, and the orders.

use std::rc::Rc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::entry::Entry;
use super::registry::Runner;
use super::show::{one, show, ticket};
use super::status::{REPORT_WITHIN, environment, status};
use super::targets::{saved_spec, target_of, understood_target};
use super::{adhoc, evict, orders, past, renew, saved};
use crate::model::{EnvironmentStatus, PortLine, PortStatus, PortsDocument, Wanted};
use crate::policy::access::{Class, Peer, is_allowed};
use crate::wire::ask::{AdHoc, Answer, Ask, EnvironmentTrace, Order, Outcome, Refusal};
use crate::wire::keep::{Reply, Request};

/// Sends all answers to `ask` but the last, and returns that.
pub async fn answer(
    runner: Rc<Runner>,
    peer: Peer,
    ask: Ask,
    progress: mpsc::Sender<Answer>,
) -> Answer {
    let outcome = match ask {
        Ask::Status { targets } => match select(&runner, &peer, &targets, Class::See) {
            Ok(entries) => {
                let mut status = status(&runner, entries).await;
                status.environments.iter_mut().for_each(|one| hide_problems(one, &peer));
                Ok(Answer::Status(Box::new(status)))
            }
            Err(refusal) => Err(refusal),
        },
        Ask::Show { target } => match select(&runner, &peer, &[target], Class::See) {
            Ok(entries) => show(&runner, &peer, entries).await,
            Err(refusal) => Err(refusal),
        },
        Ask::History { target, stretch } => match select(&runner, &peer, &[target], Class::See) {
            Ok(entries) => past::history(&runner, &entries, stretch).await,
            Err(refusal) => Err(refusal),
        },
        Ask::Events { targets, count } => match select(&runner, &peer, &targets, Class::See) {
            Ok(entries) => past::events(&runner, &entries, count).await,
            Err(refusal) => Err(refusal),
        },
        Ask::Logs { target, after } => match select(&runner, &peer, &[target], Class::See) {
            Ok(entries) => past::logs(&runner, &entries, after).await,
            Err(refusal) => Err(refusal),
        },
        Ask::Trace { targets } => match select(&runner, &peer, &targets, Class::See) {
            Ok(entries) => Ok(Answer::Trace(traces(&entries).await)),
            Err(refusal) => Err(refusal),
        },
        Ask::Exec { target } => match select(&runner, &peer, &[target], Class::Admin) {
            Ok(entries) => ticket(&runner, entries).await,
            Err(refusal) => Err(refusal),
        },
        Ask::Start(order) => {
            bring_back(&runner, &peer, &order.targets);
            carry_out(&runner, &peer, order, orders::Verb::Start, Class::Operate, &progress).await
        }
        Ask::Stop(order) => {
            carry_out(&runner, &peer, order, orders::Verb::Stop, Class::Operate, &progress).await
        }
        Ask::Restart(order) => {
            carry_out(&runner, &peer, order, orders::Verb::Restart, Class::Operate, &progress).await
        }
        Ask::Reload(order) => {
            carry_out(&runner, &peer, order, orders::Verb::Reload, Class::Operate, &progress).await
        }
        Ask::Scale { order, instances } => {
            let verb = orders::Verb::Scale(instances);
            carry_out(&runner, &peer, order, verb, Class::Operate, &progress).await
        }
        Ask::Deploy { target, release, dry_run } => {
            bring_back(&runner, &peer, std::slice::from_ref(&target));
            match select(&runner, &peer, &[target], Class::Operate) {
                Ok(entries) => {
                    let chosen = release.map_or(orders::Chosen::Before, orders::Chosen::Named);
                    deploy(&runner, &peer, &entries, chosen, dry_run, &progress).await
                }
                Err(refusal) => Err(refusal),
            }
        }
        Ask::Flush(order) => {
            carry_out(&runner, &peer, order, orders::Verb::Flush, Class::Operate, &progress).await
        }
        Ask::Ports { targets } => match select(&runner, &peer, &targets, Class::See) {
            Ok(entries) => Ok(Answer::Ports(ports(&runner, entries).await)),
            Err(refusal) => Err(refusal),
        },
        Ask::Evict { .. } if !is_allowed(&peer, Class::Admin, &[]) => Err(not_permitted()),
        Ask::Evict { target, pid } => match select(&runner, &peer, &[target], Class::Admin) {
            Ok(entries) => evict(&runner, entries, pid).await,
            Err(refusal) => Err(refusal),
        },
        Ask::Delete(order) => {
            carry_out(&runner, &peer, order, orders::Verb::Delete, Class::Admin, &progress).await
        }
        Ask::StartAdHoc(ad_hoc) => start_ad_hoc(&runner, &peer, &ad_hoc).await,
        Ask::Upgrade(order) => {
            carry_out(&runner, &peer, order, orders::Verb::Upgrade, Class::Admin, &progress).await
        }
        Ask::List {} | Ask::Restore(_) if !is_allowed(&peer, Class::Admin, &[]) => {
            Err(not_permitted())
        }
        Ask::List {} => match saved::list(&runner) {
            Ok(list) => Ok(Answer::List(list)),
            Err(text) => Err(refusal("failed", text)),
        },
        Ask::Restore(one) => {
            let outcomes = vec![saved::restore(Rc::clone(&runner), *one).await];
            Ok(Answer::Done { outcomes })
        }
        Ask::Renew {} if !is_allowed(&peer, Class::Admin, &[]) => Err(not_permitted()),
        Ask::Renew {} => match renew::installed() {
            Ok(Some(_)) if !runner.is_at_rest().await => {
                let text =
                    "an order is under way: the runner cannot go over to another program now";
                Err(refusal("busy", text))
            }
            Ok(other) => Ok(Answer::Renew { is_other: other.is_some(), program: renew::own() }),
            Err(text) => Err(refusal("failed", text)),
        },
        Ask::Kill {} if !is_allowed(&peer, Class::Admin, &[]) => Err(not_permitted()),
        Ask::Kill {} => {
            let outcomes = orders::kill(&runner).await;
            Ok(Answer::Done { outcomes })
        }
    };
    outcome.unwrap_or_else(Answer::Refused)
}

pub fn refusal(code: &str, text: impl Into<String>) -> Refusal {
    Refusal { code: code.to_owned(), text: text.into() }
}

fn not_permitted() -> Refusal {
    refusal(
        "not-permitted",
        "you may not do this: root may all, members of group \"swrun\" may look, start, stop and restart, those of \"swrun-web\" look, a deploy user may all that with its own environment",
    )
}

/// The environments that `targets` name, if the peer may; none named are all that it may see.
fn select(
    runner: &Rc<Runner>,
    peer: &Peer,
    targets: &[String],
    class: Class,
) -> Result<Vec<Rc<Entry>>, Refusal> {
    let uid_of = |entry: &Rc<Entry>| -> Vec<u32> {
        let known = entry.known.borrow();
        let spec =
            known.as_ref().and_then(|known| known.spec.as_ref()).map(|spec| spec.identity.uid);
        spec.or_else(|| saved_spec(runner, &entry.name).map(|spec| spec.identity.uid))
            .into_iter()
            .collect()
    };
    let may = |entry: &Rc<Entry>| is_allowed(peer, class, &uid_of(entry));
    let all = runner.entries();
    if targets.is_empty() {
        let own: Vec<_> = all.iter().filter(|entry| may(entry)).cloned().collect();
        let is_refused = own.is_empty() && !is_allowed(peer, class, &[]);
        return if is_refused { Err(not_permitted()) } else { Ok(own) };
    }
    let mut selected: Vec<Rc<Entry>> = Vec::new();
    for target in targets {
        let mut found: Vec<_> = all.iter().filter(|e| e.name.as_str() == target).collect();
        if found.is_empty() {
            found = all
                .iter()
                .filter(|entry| target_of(runner, entry).as_deref() == Some(target))
                .collect();
        }
        if found.is_empty() {
            found = all
                .iter()
                .filter(|entry| understood_target(runner, entry).as_deref() == Some(target))
                .collect();
        }
        let may_see_all = is_allowed(peer, class, &[]);
        if !may_see_all && !found.iter().any(|entry| may(entry)) {
            // One answer for what is another's and for what is not there: names are nobody else's.
            return Err(not_permitted());
        }
        if found.is_empty() {
            let names: Vec<_> = all.iter().filter(|e| may(e)).map(|e| e.name.as_str()).collect();
            let text = format!(
                "there is no environment \"{}\"; there are: {}",
                target.escape_default(),
                if names.is_empty() { "none".to_owned() } else { names.join(", ") }
            );
            return Err(refusal("unknown-environment", text));
        }
        for entry in found {
            if !may(entry) {
                return Err(not_permitted());
            }
            if !selected.iter().any(|other| Rc::ptr_eq(other, entry)) {
                selected.push(Rc::clone(entry));
            }
        }
    }
    Ok(selected)
}

/// `start NAME` (or `deploy`) of a deleted environment whose profile file is there, or of a profile that came since
/// the runner read them; `start` of all brings the latter alone.
fn bring_back(runner: &Rc<Runner>, peer: &Peer, targets: &[String]) {
    if !is_allowed(peer, Class::Admin, &[]) && !peer.is_member {
        return;
    }
    let unknown = |target: &String| {
        let all = runner.entries();
        !all.iter()
            .any(|e| e.name.as_str() == target || target_of(runner, e).as_deref() == Some(target))
    };
    let is_of_all = targets.is_empty();
    if !is_of_all && !targets.iter().any(unknown) {
        return;
    }
    for known in runner.profiles().known {
        let is_named = targets
            .iter()
            .any(|target| target == known.name.as_str() || Some(target) == known.target.as_ref());
        let is_new = || runner.saved(&known.name).is_none_or(|saved| !saved.deleted);
        if (is_named || is_of_all && is_new()) && runner.entry(&known.name).is_none() {
            let entry = runner.adopt(known.name.clone(), Wanted::Stopped);
            *entry.known.borrow_mut() = Some(known);
        }
    }
}

async fn carry_out(
    runner: &Rc<Runner>,
    peer: &Peer,
    order: Order,
    verb: orders::Verb,
    class: Class,
    progress: &mpsc::Sender<Answer>,
) -> Result<Answer, Refusal> {
    if class == Class::Admin && !is_allowed(peer, class, &[]) {
        return Err(not_permitted());
    }
    let entries = select(runner, peer, &order.targets, class)?;
    if verb == orders::Verb::Upgrade {
        return Ok(upgrade(runner, entries, order.wait, progress).await);
    }
    // Each of several would read all of them.
    let reads = matches!(verb, orders::Verb::Start | orders::Verb::Restart | orders::Verb::Reload)
        && entries.len() > 1;
    let read = reads.then(|| Rc::new(runner.read_for(&entries)));
    let how = orders::How { wait: order.wait, read };
    let mut running = JoinSet::new();
    for entry in entries {
        let text = match verb {
            orders::Verb::Start => "starting",
            orders::Verb::Stop | orders::Verb::Delete => "stopping",
            orders::Verb::Restart => "restarting",
            orders::Verb::Reload => "reloading",
            orders::Verb::Scale(_) => "scaling",
            orders::Verb::Flush => "emptying its logs",
            orders::Verb::Upgrade => "upgrading",
        };
        let news = Answer::Progress { name: entry.name.to_string(), text: text.to_owned() };
        // Who asked may have gone; the order is carried out all the same.
        let _ = progress.send(news).await;
        running.spawn_local(orders::carry_out(Rc::clone(runner), entry, verb, how.clone()));
    }
    let mut outcomes: Vec<Outcome> = Vec::new();
    while let Some(outcome) = running.join_next().await {
        outcomes.extend(outcome.map(|outcome| for_peer(outcome, peer)));
    }
    outcomes.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Answer::Done { outcomes })
}

/// One environment, so that one release is tried at a time.
async fn deploy(
    runner: &Rc<Runner>,
    peer: &Peer,
    entries: &[Rc<Entry>],
    chosen: orders::Chosen,
    is_dry: bool,
    progress: &mpsc::Sender<Answer>,
) -> Result<Answer, Refusal> {
    let entry = one(entries)?;
    let name = entry.name.to_string();
    let tell = async |text: String| {
        // Who asked may have gone; the order is carried out all the same.
        let _ = progress.send(Answer::Progress { name: name.clone(), text }).await;
    };
    let outcome = orders::deploy(Rc::clone(runner), Rc::clone(entry), chosen, is_dry, tell).await;
    Ok(Answer::Done { outcomes: vec![for_peer(outcome, peer)] })
}

/// One after the other, and no further than the first that fails: a program that cannot take over is to be found
/// out by one environment.
async fn upgrade(
    runner: &Rc<Runner>,
    mut entries: Vec<Rc<Entry>>,
    wait: bool,
    progress: &mpsc::Sender<Answer>,
) -> Answer {
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    let mut outcomes: Vec<Outcome> = Vec::new();
    for entry in entries {
        let name = entry.name.to_string();
        if outcomes.iter().any(|outcome| !outcome.ok) {
            let text = "was not upgraded, since one before it was not".to_owned();
            outcomes.push(Outcome { name, ok: false, text });
            continue;
        }
        let news = Answer::Progress { name, text: "upgrading its monitor".to_owned() };
        let _ = progress.send(news).await;
        let verb = orders::Verb::Upgrade;
        let how = orders::How { wait, read: None };
        outcomes.push(orders::carry_out(Rc::clone(runner), entry, verb, how).await);
    }
    Answer::Done { outcomes }
}

/// Problems of profiles name paths and users, and are found with root's eyes: root's to read.
fn hidden(text: &str, peer: &Peer) -> Option<String> {
    let is_hidden =
        text.starts_with("cannot be started:\n") && !is_allowed(peer, Class::Admin, &[]);
    is_hidden.then(|| {
        "cannot be started: its profile has errors; root sees them with \"swrun check\"".to_owned()
    })
}

fn for_peer(outcome: Outcome, peer: &Peer) -> Outcome {
    let text = hidden(&outcome.text, peer);
    Outcome { text: text.unwrap_or(outcome.text), ..outcome }
}

/// The same in a status.
pub fn hide_problems(status: &mut EnvironmentStatus, peer: &Peer) {
    if let Some(text) = status.reason.as_deref().and_then(|reason| hidden(reason, peer)) {
        status.reason = Some(text);
    }
}

async fn evict(runner: &Rc<Runner>, entries: Vec<Rc<Entry>>, pid: i32) -> Result<Answer, Refusal> {
    let mut outcomes = Vec::new();
    for entry in entries {
        let (ok, text) = match evict::evict(runner, &entry, pid).await {
            Ok(text) => (true, text),
            Err(text) => (false, text),
        };
        outcomes.push(Outcome { name: entry.name.to_string(), ok, text });
    }
    Ok(Answer::Done { outcomes })
}

async fn start_ad_hoc(runner: &Rc<Runner>, peer: &Peer, ad_hoc: &AdHoc) -> Result<Answer, Refusal> {
    if !is_allowed(peer, Class::Admin, &[]) {
        return Err(not_permitted());
    }
    let entry = adhoc::add(runner, ad_hoc).map_err(|text| refusal("bad-profile", text))?;
    let verb =
        if entry.connection().is_some() { orders::Verb::Restart } else { orders::Verb::Start };
    let how = orders::How { wait: ad_hoc.wait, read: None };
    let outcome = orders::carry_out(Rc::clone(runner), entry, verb, how).await;
    Ok(Answer::Done { outcomes: vec![outcome] })
}

/// Where the time of the last starts went. A monitor that does not answer has said nothing.
async fn traces(entries: &[Rc<Entry>]) -> Vec<EnvironmentTrace> {
    let mut traces = Vec::new();
    for entry in entries {
        let asked = async { entry.connection()?.ask(Request::Trace).await };
        let mut steps = entry.order_trace.borrow().steps().to_vec();
        steps.extend_from_slice(entry.launch_trace.borrow().steps());
        if let Ok(Some(Reply::Trace(more))) = tokio::time::timeout(REPORT_WITHIN, asked).await {
            steps.extend(more);
        }
        traces.push(EnvironmentTrace { name: entry.name.to_string(), steps });
    }
    traces
}

/// All about the ports, of running environments as their monitors say.
async fn ports(runner: &Rc<Runner>, entries: Vec<Rc<Entry>>) -> PortsDocument {
    let mut asked = JoinSet::new();
    for entry in entries {
        let runner = Rc::clone(runner);
        asked.spawn_local(async move {
            let link = entry.connection();
            let reply = match link {
                Some(link) => {
                    tokio::time::timeout(REPORT_WITHIN, link.ask(Request::Ports)).await.ok()
                }
                None => None,
            };
            match reply {
                Some(Some(Reply::Ports(lines))) => lines,
                _ => resting_ports(&runner, &entry).await,
            }
        });
    }
    let mut ports: Vec<PortLine> = asked.join_all().await.into_iter().flatten().collect();
    ports.sort_by(|a, b| (&a.environment, a.port).cmp(&(&b.environment, b.port)));
    PortsDocument { schema: 1, ports }
}

/// The ports of an environment without a monitor.
async fn resting_ports(runner: &Rc<Runner>, entry: &Rc<Entry>) -> Vec<PortLine> {
    let status = environment(runner, entry).await;
    let line = |port: &PortStatus| {
        let mut line = PortLine::idle(&status.name, port);
        runner.count_port(&mut line);
        line
    };
    status.ports.iter().map(line).collect()
}
