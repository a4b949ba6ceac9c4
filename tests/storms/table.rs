//! Figures as a table on stdout.

#![allow(clippy::print_stdout, reason = "that is what it is for")]

/// Prints rows under their heads, each column as wide as its widest cell.
pub fn print(title: &str, heads: &[&str], rows: &[Vec<String>]) {
    let widths: Vec<usize> = (0..heads.len())
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
            cells.chain([heads[column].chars().count()]).max().unwrap_or_default()
        })
        .collect();
    let line = |cells: &[String]| {
        let cells = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        format!("| {} |", cells.collect::<Vec<_>>().join(" | "))
    };
    let heads: Vec<String> = heads.iter().map(ToString::to_string).collect();
    let rules: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
    println!("\n{title}\n{}\n{}", line(&heads), line(&rules));
    for row in rows {
        println!("{}", line(row));
    }
    println!();
}
