//! Reads a TOML document key by key and remembers where everything stood.
//!
//! A deserializer would stop at the first fault and would not know a key's full name; here every fault is
//! noted with its place and reading goes on with a stand-in, so that one run of `check` shows them all.

use super::error::ConfigError;
use super::units::{parse_duration, parse_size, show_duration};
use crate::time::Duration;
use std::cell::RefCell;
use std::ops::{Range, RangeInclusive};
use std::path::Path;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A file's text and what was found wrong in it so far.
pub(crate) struct Source<'i> {
    file: &'i Path,
    text: &'i str,
    errors: RefCell<Vec<(usize, ConfigError)>>,
}

/// A place in the file: a key's full name and where it or its value stands.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) key: String,
    span: Range<usize>,
}

/// A value with its place.
#[derive(Debug, Clone)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) place: Place,
}

/// One table of the file; keys are taken out of it one after the other.
pub(crate) struct Section<'s, 'i> {
    source: &'s Source<'i>,
    place: Place,
    known: Vec<&'static str>,
    entries: Vec<(String, Range<usize>, Spanned<DeValue<'i>>)>,
}

/// One value of the file that is still to be read.
pub(crate) struct Item<'s, 'i> {
    source: &'s Source<'i>,
    pub(crate) place: Place,
    value: DeValue<'i>,
}

/// What a word of a list of choices stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice<T> {
    /// A value that can be used.
    Is(T),
    /// A word that is right but names something not built yet.
    NotBuilt,
}

impl<'i> Source<'i> {
    pub(crate) fn new(file: &'i Path, text: &'i str) -> Self {
        Self { file, text, errors: RefCell::new(Vec::new()) }
    }

    /// The document's top table. Syntax errors are noted.
    pub(crate) fn root<'s>(&'s self) -> Section<'s, 'i> {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        for e in errors {
            let place = Place { key: String::new(), span: e.span().unwrap_or(0..0) };
            let what = format!("not TOML: {}", e.message().replace('\n', ", "));
            self.error(&place, what, "mend the syntax at this line");
        }
        Section::new(self, Place { key: String::new(), span: 0..0 }, table.into_inner())
    }

    /// Notes that something is wrong.
    pub(crate) fn error(&self, place: &Place, what: impl Into<String>, remedy: impl Into<String>) {
        let start = place.span.start.min(self.text.len());
        let before = self.text.get(..start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |n| n + 1);
        let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
        let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
        let error = ConfigError {
            file: self.file.to_owned(),
            line: u32::try_from(line).unwrap_or(u32::MAX),
            column: u32::try_from(column).unwrap_or(u32::MAX),
            key: place.key.clone(),
            what: what.into(),
            remedy: remedy.into(),
        };
        self.errors.borrow_mut().push((start, error));
    }

    /// Everything noted, in the order of the file.
    pub(crate) fn into_errors(self) -> Vec<ConfigError> {
        let mut errors = self.errors.into_inner();
        // What follows from a broken line is noise.
        if errors.iter().any(|(_, e)| e.key.is_empty()) {
            errors.retain(|(_, e)| e.key.is_empty());
        }
        errors.sort_by_key(|(at, _)| *at);
        errors.into_iter().map(|(_, e)| e).collect()
    }

    pub(crate) fn file(&self) -> &'i Path {
        self.file
    }
}

impl<'s, 'i> Section<'s, 'i> {
    fn new(source: &'s Source<'i>, place: Place, table: DeTable<'i>) -> Self {
        let entries = table.into_iter().map(|(k, v)| (k.get_ref().to_string(), k.span(), v)).collect();
        Self { source, place, known: Vec::new(), entries }
    }

    /// Where the section begins.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// The name and place that `key` has, or would have, in this section.
    pub(crate) fn place_of(&self, key: &str) -> Place {
        let name =
            if self.place.key.is_empty() { key.to_owned() } else { format!("{}.{key}", self.place.key) };
        Place { key: name, span: self.place.span.clone() }
    }

    /// Takes the value of `key`, if it is there.
    pub(crate) fn take(&mut self, key: &'static str) -> Option<Item<'s, 'i>> {
        self.known.push(key);
        let at = self.entries.iter().position(|(k, _, _)| k == key)?;
        let (_, key_span, value) = self.entries.swap_remove(at);
        let place = Place { key: self.place_of(key).key, span: key_span };
        Some(Item { source: self.source, place, value: value.into_inner() })
    }

    /// Reads the value of `key`; if it is absent or wrong, `default` stands in.
    pub(crate) fn or<T>(
        &mut self,
        key: &'static str,
        default: T,
        read: impl FnOnce(Item<'s, 'i>) -> Option<T>,
    ) -> T {
        self.take(key).and_then(read).unwrap_or(default)
    }

    /// Reads the value of a key that must be there.
    pub(crate) fn need<T>(
        &mut self,
        key: &'static str,
        remedy: &str,
        read: impl FnOnce(Item<'s, 'i>) -> Option<T>,
    ) -> Option<T> {
        match self.take(key) {
            Some(item) => read(item),
            None => {
                self.source.error(&self.place_of(key), "missing", remedy);
                None
            }
        }
    }

    /// Notes that the section as a whole is wrong.
    pub(crate) fn wrong(&self, what: &str, remedy: &str) {
        self.source.error(&self.place, what, remedy);
    }

    /// Takes what stands under keys that have no place here, and notes them with the reason.
    pub(crate) fn refuse(&mut self, keys: &[&str], what: &str, remedy: &str) {
        let (refused, rest) =
            std::mem::take(&mut self.entries).into_iter().partition(|(key, ..)| keys.contains(&key.as_str()));
        self.entries = rest;
        for (key, span, _) in &refused as &Vec<(String, Range<usize>, Spanned<DeValue<'i>>)> {
            let place = Place { key: self.place_of(key).key, span: span.clone() };
            self.source.error(&place, what, remedy);
        }
    }

    /// The keys that are written here and not taken yet, with their places.
    pub(crate) fn written(&self) -> Vec<Place> {
        let place = |(key, span, _): &(String, Range<usize>, _)| Place {
            key: self.place_of(key).key,
            span: span.clone(),
        };
        self.entries.iter().map(place).collect()
    }

    /// Notes every key that nobody took.
    pub(crate) fn finish(self) {
        let mut known = self.known.clone();
        known.sort_unstable();
        known.dedup();
        let remedy = format!("known here: {}", known.join(", "));
        for (key, span, _) in &self.entries {
            let place = Place { key: self.place_of(key).key, span: span.clone() };
            self.source.error(&place, "unknown key", remedy.as_str());
        }
    }
}

impl<'s, 'i> Item<'s, 'i> {
    /// Notes that this value is wrong; always `None`, to end a reading function with.
    pub(crate) fn wrong<T>(&self, what: impl Into<String>, remedy: impl Into<String>) -> Option<T> {
        self.source.error(&self.place, what, remedy);
        None
    }

    /// The value with its place.
    pub(crate) fn at<T>(self, read: impl FnOnce(Self) -> Option<T>) -> Option<At<T>> {
        let place = self.place.clone();
        read(self).map(|value| At { value, place })
    }

    /// The file that it stands in.
    pub(crate) fn source(&self) -> &'s Source<'i> {
        self.source
    }

    pub(crate) fn is_array(&self) -> bool {
        matches!(self.value, DeValue::Array(_))
    }

    pub(crate) fn is_integer(&self) -> bool {
        matches!(self.value, DeValue::Integer(_))
    }

    pub(crate) fn is_string(&self, text: &str) -> bool {
        matches!(&self.value, DeValue::String(s) if s == text)
    }

    fn mistyped<T>(&self, wanted: &str) -> Option<T> {
        let is = match &self.value {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.wrong(format!("is {is}"), format!("write {wanted}"))
    }

    /// A string that `wanted` describes, with an example, should it be of another type.
    pub(crate) fn string(&self, wanted: &str) -> Option<String> {
        match &self.value {
            DeValue::String(s) => Some(s.to_string()),
            _ => self.mistyped(wanted),
        }
    }

    /// A truth value.
    pub(crate) fn boolean(self) -> Option<bool> {
        match &self.value {
            DeValue::Boolean(b) => Some(*b),
            _ => self.mistyped("true or false"),
        }
    }

    pub(crate) fn is_boolean(&self) -> bool {
        matches!(self.value, DeValue::Boolean(_))
    }

    /// A whole number in `range`.
    pub(crate) fn integer(self, range: RangeInclusive<u64>) -> Option<u64> {
        let wanted = format!("a whole number from {} to {}", range.start(), range.end());
        let DeValue::Integer(n) = &self.value else { return self.mistyped(&wanted) };
        match u64::from_str_radix(n.as_str(), n.radix()).ok().filter(|n| range.contains(n)) {
            Some(n) => Some(n),
            None => self.wrong(format!("{n} is out of range"), format!("write {wanted}")),
        }
    }

    /// A whole number in `range` that fits `T`.
    pub(crate) fn number<T: TryFrom<u64>>(self, range: RangeInclusive<u64>) -> Option<T> {
        self.integer(range).and_then(|n| T::try_from(n).ok())
    }

    /// A size in bytes in `range`, as a number or as `256KiB`.
    pub(crate) fn size(self, range: RangeInclusive<u64>) -> Option<usize> {
        let wanted = format!("bytes from {} to {}, or as \"256KiB\"", range.start(), range.end());
        let size = match &self.value {
            DeValue::String(s) => parse_size(s),
            DeValue::Integer(n) => u64::from_str_radix(n.as_str(), n.radix()).ok(),
            _ => return self.mistyped(&wanted),
        };
        match size.filter(|n| range.contains(n)).and_then(|n| usize::try_from(n).ok()) {
            Some(n) => Some(n),
            None => self.wrong("not a size in range", format!("write {wanted}")),
        }
    }

    /// A duration in `range`.
    pub(crate) fn duration(self, range: RangeInclusive<Duration>) -> Option<Duration> {
        let wanted = format!(
            "a duration from \"{}\" to \"{}\", a number with us, ms, s, m or h",
            show_duration(*range.start()),
            show_duration(*range.end())
        );
        let DeValue::String(text) = &self.value else { return self.mistyped(&wanted) };
        match parse_duration(text) {
            None => self.wrong(format!("{text:?} is not a duration"), format!("write {wanted}")),
            Some(d) if !range.contains(&d) => {
                self.wrong(format!("{text:?} is out of range"), format!("write {wanted}"))
            }
            d => d,
        }
    }

    /// One of `choices`; a word for something not built yet is an error of its own.
    pub(crate) fn choice<T: Copy>(self, choices: &[(&str, Choice<T>)]) -> Option<T> {
        let now = built(choices);
        let DeValue::String(text) = &self.value else { return self.mistyped(&now) };
        match choices.iter().find(|(name, _)| name == text) {
            Some((_, Choice::Is(value))) => Some(*value),
            Some((_, Choice::NotBuilt)) => {
                self.wrong(format!("{text:?} is not built yet"), format!("possible now: {now}"))
            }
            None => self.wrong(format!("{text:?} is no choice here"), format!("write {now}")),
        }
    }

    /// The items of a list, each with a place of its own.
    pub(crate) fn items(&self, wanted: &str) -> Option<Vec<Item<'s, 'i>>> {
        let DeValue::Array(array) = &self.value else { return self.mistyped(wanted) };
        let item = |v: &Spanned<DeValue<'i>>| {
            let place = Place { key: self.place.key.clone(), span: v.span() };
            Item { source: self.source, place, value: v.get_ref().clone() }
        };
        Some(array.iter().map(item).collect())
    }

    /// A list without an entry twice; wrong entries are noted and left out.
    pub(crate) fn set<T: PartialEq>(
        &self,
        wanted: &str,
        read: impl Fn(Item<'s, 'i>) -> Option<T>,
    ) -> Option<Vec<At<T>>> {
        let mut list: Vec<At<T>> = Vec::new();
        for item in self.items(wanted)? {
            let source = item.source;
            let Some(entry) = item.at(&read) else { continue };
            if list.iter().any(|e| e.value == entry.value) {
                source.error(&entry.place, "names the same entry twice", "take one of them out");
            } else {
                list.push(entry);
            }
        }
        Some(list)
    }

    /// A table.
    pub(crate) fn section(self) -> Option<Section<'s, 'i>> {
        let (source, place) = (self.source, self.place.clone());
        match self.value {
            DeValue::Table(table) => Some(Section::new(source, place, table)),
            _ => self.mistyped("a table"),
        }
    }

    /// The tables of an array of tables.
    pub(crate) fn sections(self) -> Option<Vec<Section<'s, 'i>>> {
        let wanted = format!("an array of tables, [[{}]]", self.place.key);
        Some(self.items(&wanted)?.into_iter().filter_map(Item::section).collect())
    }
}

/// The choices that exist, as people write them.
fn built<T>(choices: &[(&str, Choice<T>)]) -> String {
    let names: Vec<String> = choices
        .iter()
        .filter(|(_, c)| matches!(c, Choice::Is(_)))
        .map(|(name, _)| format!("{name:?}"))
        .collect();
    names.join(" or ")
}
