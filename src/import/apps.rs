//! The apps in a value: one object for each, with PM2's other names for keys brought to one.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::keys;

/// Which of PM2's files it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// What people write.
    Ecosystem,
    /// What `pm2 save` writes: an object for each instance, with the shell's variables in it twice.
    Dump,
}

/// One app.
#[derive(Debug, Clone, PartialEq)]
pub struct App {
    /// By PM2's first name of each key.
    pub keys: Map<String, Value>,
    /// How many instances the list has of it.
    pub listed: u32,
}

/// What a value has.
#[derive(Debug)]
pub struct Found {
    /// Which file it is.
    pub kind: Kind,
    /// Its apps.
    pub apps: Vec<App>,
    /// What stands beside them.
    pub beside: Vec<String>,
}

/// The kind of a value, and its apps.
pub fn of(value: Value) -> Result<Found, String> {
    let mut beside = Vec::new();
    let list = match value {
        Value::Array(list) => list,
        Value::Object(mut object) => {
            let apps = ["apps", "pm2"].iter().find_map(|key| object.remove(*key));
            let list = match apps {
                Some(Value::Array(list)) => list,
                Some(one @ Value::Object(_)) => vec![one],
                Some(_) => return Err("its \"apps\" is no list".to_owned()),
                None if is_app(&object) => vec![Value::Object(std::mem::take(&mut object))],
                None => {
                    let text = "it has no \"apps\", and is no app: there is no \"script\" in it";
                    return Err(text.to_owned());
                }
            };
            beside.extend(object.into_iter().map(|(key, _)| key));
            list
        }
        other => {
            return Err(format!(
                "it is {}, and neither a list of apps nor has one",
                kind_of(&other)
            ));
        }
    };
    let mut objects = Vec::new();
    for (at, one) in list.into_iter().enumerate() {
        match one {
            Value::Object(object) => objects.push(object),
            other => return Err(format!("app {} is {}, no object", at + 1, kind_of(&other))),
        }
    }
    if objects.is_empty() {
        return Err("it has no apps".to_owned());
    }
    if objects.iter().all(|object| object.contains_key("pm_exec_path")) {
        return Ok(Found { kind: Kind::Dump, apps: grouped(objects), beside });
    }
    let apps = objects.into_iter().map(|object| App { keys: named(object), listed: 1 });
    Ok(Found { kind: Kind::Ecosystem, apps: apps.collect(), beside })
}

fn is_app(object: &Map<String, Value>) -> bool {
    ["script", "exec", "cmd", "command", "pm_exec_path"].iter().any(|key| object.contains_key(*key))
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Instances of one app stand apart in PM2's list: those of one name and program belong together.
fn grouped(objects: Vec<Map<String, Value>>) -> Vec<App> {
    let mut places: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut apps: Vec<App> = Vec::new();
    for object in objects {
        let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
        let key = (text("name"), text("pm_exec_path"));
        match places.get(&key) {
            Some(at) => apps[*at].listed += 1,
            None => {
                places.insert(key, apps.len());
                apps.push(App { keys: object, listed: 1 });
            }
        }
    }
    apps
}

/// The object with the first name of each key; where one is given twice the first name wins.
fn named(object: Map<String, Value>) -> Map<String, Value> {
    let mut named = Map::new();
    let (first, other): (Vec<_>, Vec<_>) = object
        .into_iter()
        .partition(|(key, _)| keys::find(key).is_none_or(|found| found.name == *key));
    named.extend(first);
    for (key, value) in other {
        let first = keys::find(&key).map_or(key.as_str(), |found| found.name).to_owned();
        named.entry(first).or_insert(value);
    }
    named
}
