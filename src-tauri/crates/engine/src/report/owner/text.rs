//! The owner's tables as Markdown.

use super::{OwnerCell, OwnerTables};
use crate::report::{
    Made,
    markdown::{Column, escape, minute, table},
};

/// Both tables with what a reader must know.
pub fn text(tables: &OwnerTables, made: &Made) -> String {
    const SIZES: [Column; 8] = [
        Column("size", 8, false),
        Column("model", 12, false),
        Column("memory", 12, false),
        Column("his estimate, GB", 8, true),
        Column("tok/s (95 % interval)", 12, false),
        Column("his estimate", 8, true),
        Column("requests at a time", 12, false),
        Column("his estimate, copies", 8, true),
    ];
    const SERVERS: [Column; 7] = [
        Column("metric", 18, false),
        Column("Ollama", 12, false),
        Column("LM Studio", 12, false),
        Column("difference (95 % interval)", 12, false),
        Column("his Ollama", 8, true),
        Column("his LM Studio", 8, true),
        Column("his difference", 8, true),
    ];
    let mut commands = Vec::new();
    let sizes: Vec<Vec<String>> = tables
        .sizes
        .iter()
        .map(|row| {
            vec![
                row.size.clone(),
                row.model.clone().unwrap_or_else(|| "–".into()),
                cell(&row.memory_bytes, &mut commands),
                format!("{}", row.noted_memory_gb),
                cell(&row.decode_tok_s, &mut commands),
                row.noted_decode_tok_s.map_or_else(|| "–".into(), |(from, to)| format!("{from}–{to}")),
                cell(&row.at_a_time, &mut commands),
                row.noted_copies.clone(),
            ]
        })
        .collect();
    let servers: Vec<Vec<String>> = tables
        .servers
        .iter()
        .map(|row| {
            vec![
                row.metric.clone(),
                cell(&row.ollama, &mut commands),
                cell(&row.lmstudio, &mut commands),
                cell(&row.difference, &mut commands),
                row.noted_ollama.clone(),
                row.noted_lmstudio.clone(),
                if row.noted_difference.is_empty() { "–".into() } else { row.noted_difference.clone() },
            ]
        })
        .collect();
    let mut text = format!("Measured on: {}\n\n", escape(&tables.machine));
    text.push_str("## Speed by size of model\n\n4 bits a weight unless said.\n\n");
    text.push_str(&table(&SIZES, &sizes));
    text.push_str("\n## Ollama against LM Studio, the same model\n\n");
    text.push_str(&table(&SERVERS, &servers));
    if !commands.is_empty() {
        text.push_str("\nTo measure what is missing:\n\n");
        for (index, command) in commands.iter().enumerate() {
            text.push_str(&format!("{}. `{}`\n", index + 1, command.replace('`', "'")));
        }
    }
    text.push('\n');
    for note in NOTES {
        text.push_str(&format!("- {note}\n"));
    }
    text.push_str(&format!("- Made by Pilothouse {} at {}.\n", made.version, minute(made.at)));
    text
}

const NOTES: [&str; 5] = [
    "His estimates are what the owner of the Mac Studio (M4 Max, 36 GB) noted before anything was measured. Everything else \
     was measured, on the machine named above; nothing is reckoned.",
    "His copies are copies of a model in memory at a time. Requests at a time are what one copy serves while nine of ten \
     tokens of the most are reached and first tokens come in time: two different things.",
    "tok/s are medians of decode by the client's clock. A difference is LM Studio against Ollama and has an interval only \
     where both were measured in turns.",
    "Ollama reads GGUF, LM Studio may read MLX: the same model in another format is not the same weights.",
    "(n): the command below that would measure it.",
];

/// What was measured, or that it was not and the number of the command that would.
fn cell(cell: &OwnerCell, commands: &mut Vec<String>) -> String {
    let Some(command) = &cell.measure else { return cell.words.clone() };
    let known = commands.iter().position(|one| one == command);
    let number = known.unwrap_or_else(|| {
        commands.push(command.clone());
        commands.len() - 1
    });
    format!("{} ({})", cell.words, number + 1)
}
