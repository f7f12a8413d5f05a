//! What the demo prints at its end. Pure.

use std::fmt::Write;

use super::{Row, Summary};

/// Rows at the most; a larger account is cut.
const ROWS: usize = 30;

pub(super) fn render(rows: &[Row], summary: &Summary) -> String {
    let shown = &rows[..rows.len().min(ROWS)];
    let rule = shown.iter().map(|row| row.rule.len()).max().unwrap_or_default().max(4);
    let cover = shown.iter().map(|row| last(&row.cover).len()).max().unwrap_or_default().max(5);
    let mut text = String::new();
    let _ = writeln!(text, "{:10}  {:rule$}  {:cover$}  WHY", "VIDEO", "RULE", "COVER");
    for row in shown {
        let (video, why) = (first(&row.video), &row.why);
        let _ = writeln!(text, "{video}  {:rule$}  {:cover$}  {why}", row.rule, last(&row.cover));
    }
    if rows.len() > shown.len() {
        let _ = writeln!(text, "... and {} more", rows.len() - shown.len());
    }
    let Summary { videos, events, covers_set, updates_sent, duplicates_ignored, dead, .. } =
        summary;
    let _ = writeln!(
        text,
        "\n{covers_set} of {videos} videos have their cover: {events} events ({duplicates_ignored} \
         duplicates ignored), {updates_sent} updates sent, {dead} dead letters, {:.1} s",
        summary.elapsed.as_secs_f64()
    );
    text
}

/// The beginning of an id: enough to tell videos apart.
fn first(video: &str) -> String {
    format!("{:10}", video.chars().take(10).collect::<String>())
}

/// The end of a long file name, which is what tells pictures apart.
fn last(name: &str) -> String {
    let from = name.char_indices().rev().nth(17).map_or(0, |(at, _)| at);
    match from {
        0 => name.to_owned(),
        _ => format!("…{}", &name[from..]),
    }
}
