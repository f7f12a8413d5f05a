//! The report as text for a terminal, at most 100 columns wide. Prints no control characters, whatever the
//! names of files are.

use super::report::{Entry, Report, brief};

const WIDTH: usize = 100;
/// The columns that do not depend on what is shown: mark, number, score, and what is between them.
const FIXED: usize = 16;
const LONGEST_NAME: usize = 28;
const LONGEST_DEFECTS: usize = 24;

/// Rows best first, then every rule that was tried, then the verdict.
pub(super) fn draw(report: &Report) -> String {
    let rows = &report.ranking;
    let name = longest(rows.iter().map(|row| row.short()), 4).min(LONGEST_NAME);
    let defects = rows.iter().filter(|row| row.facts.is_some()).map(flaws).collect::<Vec<_>>();
    let defects = longest(defects.iter().map(String::as_str), 7).min(LONGEST_DEFECTS);
    let columns = columns(rows, WIDTH - FIXED - name - defects);

    let mut text = format!("{}\n\n", printable(&report.title));
    let mut line =
        format!("  {:>3}  {:<name$}  {:>5}  {:<defects$}", "no.", "file", "score", "defects");
    for (feature, width) in &columns {
        line += &format!("  {feature:>width$}");
    }
    push(&mut text, &line);
    for row in rows {
        let mark = if row.is_picked { '*' } else { ' ' };
        let number = row.number.map_or_else(|| "-".into(), |number| number.to_string());
        let file = cut(&printable(row.short()), name);
        let mut line = format!("{mark} {number:>3}  {file:<name$}  {:>5.1}  ", row.score);
        match row.facts {
            // Why there is no picture takes the place of its features.
            None => line += &cut(&flaws(row), WIDTH - FIXED - name),
            Some(_) => {
                line += &format!("{:<defects$}", cut(&flaws(row), defects));
                for (feature, width) in &columns {
                    let value = row.features.iter().find(|(name, _)| name == feature);
                    let value = value.map(|(_, value)| brief(*value)).unwrap_or_default();
                    line += &format!("  {value:>width$}");
                }
            }
        }
        push(&mut text, &line);
    }
    text.push('\n');
    for note in &report.trace {
        wrapped(&mut text, &printable(note));
    }
    wrapped(&mut text, &printable(&report.verdict()));
    text
}

/// As many features as there is room for; the first are the most important ones.
fn columns(rows: &[Entry], mut room: usize) -> Vec<(&'static str, usize)> {
    let mut columns = Vec::new();
    let Some(seen) = rows.iter().find(|row| !row.features.is_empty()) else { return columns };
    for (name, _) in &seen.features {
        let width = name.chars().count().max(5);
        let Some(left) = room.checked_sub(width + 2) else { break };
        room = left;
        columns.push((*name, width));
    }
    columns
}

fn flaws(row: &Entry) -> String {
    match row.defects.as_slice() {
        [] => "-".into(),
        defects => printable(&defects.join(", ")),
    }
}

fn longest<'a>(texts: impl Iterator<Item = &'a str>, least: usize) -> usize {
    texts.map(|text| text.chars().count()).max().unwrap_or_default().max(least)
}

fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// The middle of what is too long is left out, because both ends tell names apart.
fn cut(text: &str, width: usize) -> String {
    let chars: Vec<char> = text.chars().collect();
    if chars.len() <= width {
        return text.to_owned();
    }
    let (head, tail) = (width / 2, width.saturating_sub(width / 2 + 1));
    let tail = chars.iter().skip(chars.len() - tail);
    chars.iter().take(head).chain([&'…']).chain(tail).collect()
}

fn push(text: &mut String, line: &str) {
    text.push_str(line.trim_end());
    text.push('\n');
}

/// Breaks at spaces; what follows the first line is indented.
fn wrapped(text: &mut String, note: &str) {
    let mut line = String::new();
    for word in note.split(' ') {
        let used = line.chars().count();
        if used > 2 && used + 1 + word.chars().count() > WIDTH {
            push(text, &line);
            line = "  ".into();
        } else if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    push(text, &line);
}
