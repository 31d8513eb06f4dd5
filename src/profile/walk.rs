//! Walks the spanned tree of a TOML text and gathers what is wrong on the way. (Deriving with serde
//! would end at the first problem; an operator wants all of them in one run.)

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::file::At;
use super::problem::{Position, Problem};
use super::text::Lines;
use super::values::Unfit;
use super::{schema, unknown};

/// The reader of one text.
pub(super) struct Walk<'a> {
    file: &'a Path,
    lines: Lines<'a>,
    /// What was found so far, in the order of the walk.
    pub(super) problems: Vec<Problem>,
}

/// A section that is being read; `table` is none when it is not in the file.
#[derive(Clone, Copy)]
pub(super) struct Section<'t, 'i> {
    name: &'static str,
    at: Position,
    table: Option<&'t DeTable<'i>>,
}

impl Section<'_, '_> {
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// Where the section begins, if it is given without the key.
    pub(super) fn lacks(&self, key: &str) -> Option<Position> {
        self.table.filter(|table| !table.contains_key(key)).map(|_| self.at)
    }
}

impl<'a> Walk<'a> {
    pub(super) fn of(file: &'a Path, text: &'a str) -> Self {
        Self { file, lines: Lines::of(text), problems: Vec::new() }
    }

    pub(super) fn position(&self, offset: usize) -> Position {
        self.lines.position(offset)
    }

    pub(super) fn error(&mut self, at: Position, text: impl Into<String>, hint: Option<&str>) {
        let problem = Problem::error(self.file, at, text);
        self.problems.push(match hint {
            Some(hint) => problem.with_hint(hint),
            None => problem,
        });
    }

    /// The top of the tree; keys that nobody knows are reported.
    pub(super) fn top<'t, 'i>(&mut self, table: &'t DeTable<'i>) -> Section<'t, 'i> {
        let is_known =
            |key: &str| schema::SECTIONS.contains(&key) || schema::find("", key).is_some();
        self.refuse_unknown("", table, is_known);
        Section { name: "", at: Position::START, table: Some(table) }
    }

    /// A section; keys that nobody knows are reported.
    pub(super) fn section<'t, 'i>(
        &mut self,
        top: Section<'t, 'i>,
        name: &'static str,
    ) -> Section<'t, 'i> {
        let table = self.table(top, name);
        if let Some(table) = table {
            self.refuse_unknown(name, table, |key| schema::find(name, key).is_some());
        }
        let key = top.table.and_then(|table| table.get_key_value(name));
        let at = key.map_or(Position::START, |(key, _)| self.position(key.span().start));
        Section { name, at, table }
    }

    /// A section whose keys are the operator's own.
    pub(super) fn table<'t, 'i>(
        &mut self,
        top: Section<'t, 'i>,
        name: &'static str,
    ) -> Option<&'t DeTable<'i>> {
        let value = top.table?.get(name)?;
        let table = value.get_ref().as_table();
        if table.is_none() {
            let found = article(value.get_ref());
            let at = self.position(value.span().start);
            let hint = format!("write [{name}] on a line of its own, its keys below");
            self.error(at, format!("\"{name}\" is {found}, expected a section"), Some(&hint));
        }
        table
    }

    /// One value, read by `read`; none when it is not given or wrong.
    pub(super) fn value<T>(
        &mut self,
        section: Section<'_, '_>,
        name: &'static str,
        read: impl FnOnce(&DeValue<'_>) -> Result<T, Unfit>,
    ) -> Option<At<T>> {
        let value = section.table?.get(name)?;
        self.fit(section.name, name, ("is", value), read)
    }

    /// A list, each item read by `read`; wrong items are reported and left out.
    pub(super) fn list<T>(
        &mut self,
        section: Section<'_, '_>,
        name: &'static str,
        read: impl Fn(&DeValue<'_>) -> Result<T, Unfit>,
    ) -> Option<At<Vec<At<T>>>> {
        let value = section.table?.get(name)?;
        let at = self.position(value.span().start);
        let Some(items) = value.get_ref().as_array() else {
            self.report(section.name, name, ("is", value), Unfit::Kind);
            return None;
        };
        let items =
            items.iter().filter_map(|item| self.fit(section.name, name, ("holds", item), &read));
        Some(At { value: items.collect(), at })
    }

    fn fit<T>(
        &mut self,
        section: &'static str,
        name: &str,
        (verb, value): (&str, &Spanned<DeValue<'_>>),
        read: impl FnOnce(&DeValue<'_>) -> Result<T, Unfit>,
    ) -> Option<At<T>> {
        match read(value.get_ref()) {
            Ok(read) => Some(At { value: read, at: self.position(value.span().start) }),
            Err(unfit) => {
                self.report(section, name, (verb, value), unfit);
                None
            }
        }
    }

    fn report(
        &mut self,
        section: &str,
        name: &str,
        (verb, value): (&str, &Spanned<DeValue<'_>>),
        unfit: Unfit,
    ) {
        let at = self.position(value.span().start);
        let shown = unknown::shown(section, name);
        match unfit {
            Unfit::Value { text, hint } => {
                self.error(at, format!("{shown}: {text}"), hint.as_deref());
            }
            Unfit::Kind => {
                let (kind, hint) = match schema::find(section, name) {
                    Some(key) => (key.kind, Some(format!("as in {name} = {}", key.example))),
                    None => ("something else", None),
                };
                let found = article(value.get_ref());
                let text = format!("{shown} {verb} {found}, expected {kind}");
                self.error(at, text, hint.as_deref());
            }
        }
    }

    fn refuse_unknown(
        &mut self,
        section: &'static str,
        table: &DeTable<'_>,
        is_known: impl Fn(&str) -> bool,
    ) {
        for (key, _) in table {
            let name = key.get_ref();
            if !is_known(name)
                && let Unfit::Value { text, hint } = unknown::unknown(section, name)
            {
                let at = self.position(key.span().start);
                self.error(at, text, hint.as_deref());
            }
        }
    }
}

/// What a value is, in words; never the value itself, which may be a secret.
pub(super) fn article(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a section",
    }
}
