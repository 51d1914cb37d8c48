//! The charts of a report, each with the figures behind it.

mod against;
pub(crate) mod figure;
mod grouping;
mod kernels;
mod percentiles;
mod timeline;
mod units;

use crate::commands::report::data::Data;
use figure::{Figure, Missing};

/// All charts there is data for, and the kinds there is none for.
pub(crate) fn all(data: &Data) -> (Vec<Figure>, Vec<Missing>) {
    let (mut figures, mut missing) = (Vec::new(), Vec::new());
    let kinds = [
        against::cost(data),
        against::counted(data),
        against::peer(data),
        against::rate(data),
        percentiles::figure(data),
        against::load(data),
        against::cpu(data),
        kernels::figure(data),
        timeline::figure(data),
    ];
    for kind in kinds {
        match kind {
            Ok(figure) => figures.push(figure),
            Err(Some(what)) => missing.push(what),
            Err(None) => {}
        }
    }
    (figures, missing)
}
