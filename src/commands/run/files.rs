//! What a run writes: the CSV, and the log of histograms.

use crate::commands::bench::{existing, open_output};
use crate::console::{Failure, tell, usage};
use crate::place;
use crate::plan::args::RunArgs;
use crate::record::hlog::Hlog;
use crate::record::output::Output;
use crate::record::resume::Begun;

/// What a run writes.
pub(super) struct Files {
    pub output: Output,
    pub hlog: Option<Hlog>,
}

impl Files {
    /// Opens and locks all files, without changing them.
    pub(super) fn open(args: &RunArgs, begun: &Begun, host: &str) -> Result<Self, Failure> {
        let used = [("-o", &args.out), ("--hlog", &args.hlog)];
        let used: Vec<_> = used.iter().filter_map(|(flag, path)| Some((*flag, path.as_deref()?))).collect();
        place::check_outputs(&used, &[]).map_err(usage)?;
        // A file of rows that is continued may also say how.
        let is_continued = args.append || args.resume;
        let used: Vec<_> = used.into_iter().filter(|(flag, _)| !is_continued || *flag != "-o").collect();
        let plan = args.plan.iter().map(|path| ("--plan", path.as_path())).collect::<Vec<_>>();
        place::check_outputs(&used, &plan).map_err(usage)?;
        let output = if args.resume { begun.open()? } else { open_output(args, host)? };
        let hlog = args.hlog.as_deref().map(|path| Hlog::open(path, existing(args))).transpose()?;
        Ok(Self { output, hlog })
    }

    /// Writes the start of each file, now that nothing can be refused any more; of the log of histograms only if some
    /// will be written.
    pub(super) fn begin(&mut self, begun: &Begun, is_complete: bool) -> Result<(), Failure> {
        if let Some(hlog) = self.hlog.as_mut().filter(|_| !is_complete) {
            hlog.begin()?;
        }
        self.output.begin()?;
        if begun.cut() > 0 {
            tell!(
                "note: the last line of {} was cut ({} bytes, no line end) and is removed",
                begun.name(),
                begun.cut()
            );
        }
        Ok(())
    }

    /// Whether everything was written to the named files.
    pub(super) fn finish(&mut self) -> Result<bool, Failure> {
        let is_hlog_in_place = self.hlog.as_mut().map_or(Ok(true), Hlog::finish)?;
        Ok(self.output.finish()? && is_hlog_in_place)
    }
}
