//! The charts of a report, each with the figures behind it.

mod against;
mod change;
pub(crate) mod figure;
mod grouping;
mod heat;
mod kernels;
mod percentiles;
mod plot;
mod timeline;
mod units;

use crate::commands::report::data::Data;
use crate::compare::answer;
use crate::compare::axes::By;
use crate::compare::comparisons::{CompareError, Comparisons};
use crate::compare::trials::Trials;
use crate::record::columns::Column;
use figure::{Figure, Missing};

/// What the charts of changes show: kernels if there are several, else backends; an error if nothing can be compared.
pub(crate) fn compared(data: &Data) -> Result<Comparisons, CompareError> {
    let by = if data.distinct(Column::kernel).len() > 1 { Column::kernel } else { Column::variant };
    Comparisons::new(&Trials::new(&data.set, By::Column(by), &[]), &answer::SETTINGS)
}

/// All charts that there is data for, the most telling first, and the kinds that there is no data for.
pub(crate) fn all(data: &Data, compared: Option<&Comparisons>) -> (Vec<Figure>, Vec<Missing>) {
    let several_kernels = data.distinct(Column::kernel).len() > 1;
    let (mut figures, mut missing) = (Vec::new(), Vec::new());
    let kinds = [
        change::figure(data, compared),
        heat::figure(data, compared),
        against::cost(data),
        against::counted(data),
        against::peer(data),
        against::rate(data),
        against::load(data),
        against::cores(data),
        against::cpu(data),
        percentiles::figure(data),
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
    // The map says it all, and its lines are many.
    for figure in figures.iter_mut().filter(|figure| several_kernels && figure.name != "heat") {
        figure.is_folded = true;
    }
    (figures, missing)
}
