//! The report as one page that needs nothing else: a contact sheet on which a person sees at a glance
//! whether the choice is good. Runs no script and asks for nothing; everything from outside is escaped.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::report::{Entry, Report, brief};

const STYLE: &str = include_str!("page.css");

/// Replaces the file as a whole, or leaves it as it was.
pub(super) fn write(report: &Report, file: &Path) -> anyhow::Result<()> {
    let cannot = || format!("cannot write {}", file.display());
    let directory = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    // As other files are made: for everybody to read, unless the umask says otherwise.
    let mode = std::fs::Permissions::from_mode(0o666);
    let made = tempfile::Builder::new().permissions(mode).tempfile_in(directory);
    let mut page = made.with_context(cannot)?;
    page.write_all(html(report).as_bytes()).with_context(cannot)?;
    page.persist(file).with_context(cannot)?;
    Ok(())
}

fn html(report: &Report) -> String {
    let title = escaped(&report.title);
    let verdict = escaped(&report.verdict());
    let trace: String =
        report.trace.iter().map(|note| format!("<li>{}</li>\n", escaped(note))).collect();
    let cards: String = (1..).zip(&report.ranking).map(|(rank, entry)| card(rank, entry)).collect();
    let count = report.ranking.len();
    let usable = report.ranking.iter().filter(|entry| entry.defects.is_empty()).count();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         img-src data:; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title}: {verdict}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <header>\n<h1>{title}</h1>\n<p class=\"verdict\">{verdict}</p>\n\
         <p>{usable} of {count} pictures without defects, best first.</p>\n\
         <ol class=\"trace\">\n{trace}</ol>\n</header>\n<main>\n{cards}</main>\n</body>\n</html>\n"
    )
}

fn card(rank: usize, entry: &Entry) -> String {
    let class = match (entry.is_picked, entry.defects.is_empty()) {
        (true, _) => "picked",
        (false, true) => "usable",
        (false, false) => "flawed",
    };
    let name = escaped(entry.short());
    let picture = match &entry.thumbnail {
        Some(jpeg) => {
            format!("<img alt=\"{name}\" src=\"data:image/jpeg;base64,{}\">", STANDARD.encode(jpeg))
        }
        None => "<div class=\"none\">no picture</div>".into(),
    };
    let picked = if entry.is_picked { "<span class=\"badge pick\">picked</span>" } else { "" };
    let defects: String = entry
        .defects
        .iter()
        .map(|defect| format!("<span class=\"badge defect\">{}</span> ", escaped(defect)))
        .collect();
    let number = match entry.number {
        Some(number) => format!("no. {number}"),
        None => "smart thumbnail".into(),
    };
    let size = entry.facts.map_or_else(String::new, |facts| {
        format!(" · {}×{} {}", facts.width, facts.height, facts.format)
    });
    format!(
        "<article class=\"{class}\">\n<div class=\"sheet\">{picture}\
         <span class=\"badge rank\">{rank}</span>{picked}</div>\n\
         <h2><span class=\"score\">{:.1}</span> {name}</h2>\n<p>{number}{size}</p>\n\
         <p>{defects}</p>\n{}</article>\n",
        entry.score,
        features(entry)
    )
}

fn features(entry: &Entry) -> String {
    if entry.features.is_empty() {
        return String::new();
    }
    let row = |(name, value): &(&str, f64)| {
        format!("<tr><th>{}</th><td>{}</td></tr>\n", escaped(name), brief(*value))
    };
    let rows: String = entry.features.iter().map(row).collect();
    let file = escaped(&entry.file);
    format!(
        "<details><summary>features</summary>\n<p>{file}</p>\n<table>\n{rows}</table></details>\n"
    )
}

/// For text and for attributes in quotation marks.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c if c.is_control() => safe.push(char::REPLACEMENT_CHARACTER),
            c => safe.push(c),
        }
    }
    safe
}
