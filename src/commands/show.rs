//! `hpbench show`: prints the answer and the table of files again, or a summary of each cell.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use crate::commands::{found, table};
use crate::compare::answer;
use crate::compare::capacity::Searches;
use crate::compare::dataset::Dataset;
use crate::compare::summaries::{self, CellSummary, TOLD};
use crate::console::{Failure, broken, look, print, usage};
use crate::place;
use crate::record::cell::AXES;
use crate::record::column::FieldType;
use crate::record::columns::Column;
use crate::record::rows;
use crate::text::decimal;

/// What to show, and how.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  hpbench show run.csv\n  hpbench show --summary csv before.csv after.csv > cells.csv"
)]
pub struct ShowArgs {
    /// CSV files of runs
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// Print one row for each cell instead: medians, the ends of their 95% intervals, and how many trials count
    #[arg(long, value_name = "FORMAT")]
    pub summary: Option<Summary>,
}

/// The values of `--summary`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Summary {
    /// For spreadsheets and notebooks.
    Csv,
    /// For programs.
    Json,
}

/// Reads and prints.
pub(crate) fn run(args: &ShowArgs) -> Result<u8, Failure> {
    let inputs: Vec<_> = args.files.iter().map(|path| ("", path.as_path())).collect();
    place::check_outputs(&[], &inputs).map_err(usage)?;
    let mut data = Dataset::new(summaries::columns());
    let (mut searches, names) = (Searches::default(), rows::file_names(&args.files));
    for (file, (path, name)) in args.files.iter().zip(&names).enumerate() {
        data.begin(name);
        // A summary has all cells.
        rows::read_file(path, |_, fields, row| match args.summary.is_none() && searches.add(file, fields, row) {
            true => Ok(()),
            false => data.add(fields, row),
        })?;
    }
    data.finish();
    let cells = summaries::of(&data);
    print(&match args.summary {
        Some(Summary::Csv) => csv(&cells, &data.files)?,
        Some(Summary::Json) => json(&cells, &data.files)?,
        None => {
            let mut parts = vec![found::text(&searches.found(&names))];
            if searches.is_empty() || !cells.is_empty() {
                parts.extend([answer::of_trials(&data, look()), table::render(&cells, &data.files)]);
            }
            parts.retain(|part| !part.is_empty());
            parts.join("\n")
        }
    })?;
    Ok(0)
}

/// The metrics that some cell has a value for.
fn measured(cells: &[CellSummary]) -> Vec<Column> {
    summaries::columns().filter(|column| cells.iter().any(|cell| cell.median(*column).is_some())).collect()
}

/// The file and the columns that identify a cell, with their names and what is in them.
fn texts<'c>(cell: &'c CellSummary, files: &'c [String]) -> impl Iterator<Item = (&'static str, FieldType, &'c str)> {
    let file = files.get(cell.file as usize).map_or("", String::as_str);
    let axes = AXES.iter().chain(&TOLD).map(|column| (column.name(), column.field_type(), cell.get(*column)));
    std::iter::once(("file", FieldType::Text, file)).chain(axes)
}

fn csv(cells: &[CellSummary], files: &[String]) -> Result<String, Failure> {
    let measured = measured(cells);
    let mut writer = csv::Writer::from_writer(Vec::new());
    let mut header: Vec<String> = vec!["file".into()];
    header.extend(AXES.iter().chain(&TOLD).map(|column| column.name().to_owned()));
    header.extend(["trials", "n", "per_call"].map(str::to_owned));
    for column in &measured {
        let name = column.name();
        header.extend([name.to_owned(), format!("{name}_low"), format!("{name}_high")]);
    }
    writer.write_record(&header).map_err(broken)?;
    for cell in cells {
        let number = |value: Option<f64>| value.map_or_else(String::new, |value| decimal(value).to_string());
        let mut row: Vec<String> = texts(cell, files).map(|(.., text)| text.to_owned()).collect();
        row.extend([cell.trials.to_string(), cell.counting.to_string(), number(cell.per_call)]);
        for column in &measured {
            let median = cell.median(*column);
            let ends = median.and_then(|median| median.interval);
            row.push(number(median.map(|median| median.value)));
            row.extend([number(ends.map(|ends| ends.0)), number(ends.map(|ends| ends.1))]);
        }
        writer.write_record(&row).map_err(broken)?;
    }
    let bytes = writer.into_inner().map_err(|error| broken(error.into_error()))?;
    String::from_utf8(bytes).map_err(broken)
}

fn json(cells: &[CellSummary], files: &[String]) -> Result<String, Failure> {
    let measured = measured(cells);
    let one = |cell: &CellSummary| {
        let text = |(name, holds, text): (&str, FieldType, &str)| {
            // A host named 007 is no number.
            let number = text.parse::<i64>().ok().filter(|_| holds == FieldType::Whole);
            let value = number.map_or_else(|| if text.is_empty() { Value::Null } else { json!(text) }, Value::from);
            (name.to_owned(), value)
        };
        let mut object: Map<String, Value> = texts(cell, files).map(text).collect();
        object.insert("trials".into(), json!(cell.trials));
        object.insert("n".into(), json!(cell.counting));
        object.insert("per_call".into(), json!(cell.per_call.map(decimal)));
        let medians = measured.iter().filter_map(|column| {
            let median = cell.median(*column)?;
            let (low, high) = median.interval.map(|(low, high)| (decimal(low), decimal(high))).unzip();
            Some((column.name().to_owned(), json!({ "median": decimal(median.value), "low": low, "high": high })))
        });
        object.insert("metrics".into(), Value::Object(medians.collect()));
        Value::Object(object)
    };
    let all: Vec<Value> = cells.iter().map(one).collect();
    serde_json::to_string_pretty(&json!({ "cells": all })).map(|text| text + "\n").map_err(broken)
}
