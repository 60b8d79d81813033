//! What was agreed: `crates/tests/verifier-budget.toml`, and what no program may exceed whatever is written there.

use crate::measure::Program;
use std::collections::BTreeMap;

/// The kernel refuses a program that takes its verifier more than 1,000,000 instructions. Other kernels count otherwise than
/// those that we try, so there must be room: a program that is just accepted here is refused elsewhere.
const MOST_WALKED: u32 = 750_000;
/// MAX_BPF_STACK: no kernel gives more to all functions on a way together.
const MOST_STACK: u32 = 512;

/// What a program may take on a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// Instructions that the verifier walks.
    pub(crate) walked: u32,
    /// Bytes of stack on the deepest way through the calls.
    pub(crate) stack: u32,
    /// Bytes of instructions after the verifier.
    pub(crate) translated: u32,
}

/// Names of a row's numbers in the file.
const WALKED: &str = "verified-instructions";
const STACK: &str = "stack-bytes";
const TRANSLATED: &str = "translated-bytes";

/// The file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    /// By major and minor version: the release that was measured.
    kernels: BTreeMap<String, String>,
    /// By program, by kernel.
    programs: BTreeMap<String, BTreeMap<String, Row>>,
}

impl From<&Program> for Row {
    fn from(program: &Program) -> Self {
        let Program { made, deepest, .. } = program;
        Self { walked: made.walked, stack: deepest.stack, translated: made.translated }
    }
}

/// Major and minor version of a kernel's release.
pub(crate) fn series(release: &str) -> String {
    release.split(['.', '-']).take(2).collect::<Vec<_>>().join(".")
}

/// The lines for the file: a row a program, for one kernel.
pub(crate) fn lines(release: &str, programs: &[Program]) -> String {
    let series = series(release);
    let mut lines = format!("[kernels]\n\"{series}\" = \"{release}\"\n");
    for program in programs {
        let Row { walked, stack, translated } = Row::from(program);
        lines += &format!(
            "\n[{}]\n\"{series}\" = {{ {WALKED} = {walked}, {STACK} = {stack}, {TRANSLATED} = {translated} }}\n",
            program.program.name()
        );
    }
    lines
}

impl Budget {
    /// Reads the file.
    ///
    /// # Errors
    /// It does not say what it must.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut tables: toml::Table = text.parse().map_err(|error: toml::de::Error| error.to_string())?;
        let kernels = tables.remove("kernels").ok_or("there is no table [kernels]")?;
        let kernels = kernels.try_into().map_err(|error| format!("[kernels]: {error}"))?;
        let mut programs = BTreeMap::new();
        for (program, rows) in tables {
            let rows: BTreeMap<String, BTreeMap<String, u32>> =
                rows.try_into().map_err(|error| format!("[{program}]: {error}"))?;
            let rows: Result<_, String> =
                rows.into_iter().map(|(kernel, row)| Ok((kernel, Row::parse(&row)?))).collect();
            programs.insert(program, rows?);
        }
        Ok(Self { kernels, programs })
    }

    /// What is wrong with the file itself: numbers that leave no room, and rows that are missing.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (program, rows) in &self.programs {
            for kernel in self.kernels.keys().filter(|kernel| !rows.contains_key(*kernel)) {
                faults.push(format!("{program} has no row for Linux {kernel}"));
            }
            for (kernel, row) in rows {
                if !self.kernels.contains_key(kernel) {
                    faults.push(format!("{program} has a row for Linux {kernel}, which is not among the kernels"));
                }
                for (what, number, most) in [(WALKED, row.walked, MOST_WALKED), (STACK, row.stack, MOST_STACK)] {
                    if number > most {
                        faults.push(format!(
                            "{program} on Linux {kernel}: {number} {what} leave no room; at most {most}"
                        ));
                    }
                }
            }
        }
        faults
    }

    /// What these programs take more than was agreed on this kernel; and what would be good to know besides.
    pub(crate) fn over(&self, release: &str, programs: &[Program]) -> (Vec<String>, Vec<String>) {
        let (mut over, mut notes) = (Vec::new(), Vec::new());
        let series = series(release);
        let percent = match self.kernels.get(&series) {
            Some(measured) if measured == release => 100,
            Some(measured) => {
                notes.push(format!(
                    "the numbers are those of Linux {measured}: a tenth more is not too much for {release}."
                ));
                110
            }
            None => {
                notes
                    .push(format!("there are no numbers for Linux {series}: only twice the largest is too much here."));
                200
            }
        };
        for program in programs {
            let name = program.program.name();
            let Some(allowed) = self.row(name, &series) else {
                over.push(format!("{name} is not in the budget"));
                continue;
            };
            let row = Row::from(program);
            for (what, number, allowed, percent) in [
                (WALKED, row.walked, allowed.walked, percent),
                // The compiler's, not the kernel's.
                (STACK, row.stack, allowed.stack, 100),
                (TRANSLATED, row.translated, allowed.translated, percent),
            ] {
                if u64::from(number) * 100 > u64::from(allowed) * percent {
                    over.push(format!("{name}: {number} {what}, and {allowed} were agreed"));
                } else if percent == 100 && number < allowed {
                    notes.push(format!("{name}: only {number} {what}; lower {allowed} to that."));
                }
            }
        }
        let gone = self.programs.keys().filter(|name| !programs.iter().any(|program| program.program.name() == *name));
        over.extend(gone.map(|name| format!("{name} is in the budget and not in the object")));
        (over, notes)
    }

    /// The most that any program may have on its stack, by what is written for any kernel.
    #[cfg(test)]
    pub(crate) fn stack(&self, program: &str) -> Option<u32> {
        self.programs.get(program)?.values().map(|row| row.stack).max()
    }

    /// The row for a kernel; for one that has none, the largest numbers of all.
    fn row(&self, program: &str, series: &str) -> Option<Row> {
        let rows = self.programs.get(program)?;
        let most = |number: fn(&Row) -> u32| rows.values().map(number).max();
        rows.get(series).copied().or(Some(Row {
            walked: most(|row| row.walked)?,
            stack: most(|row| row.stack)?,
            translated: most(|row| row.translated)?,
        }))
    }
}

impl Row {
    fn parse(row: &BTreeMap<String, u32>) -> Result<Self, String> {
        let number = |name: &str| row.get(name).copied().ok_or_else(|| format!("a row has no {name}"));
        Ok(Self { walked: number(WALKED)?, stack: number(STACK)?, translated: number(TRANSLATED)? })
    }
}
