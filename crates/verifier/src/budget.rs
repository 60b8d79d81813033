//! What was agreed: `crates/tests/verifier-budget.toml`, and what no program may exceed whatever is written there.

use crate::measure::Program;
use std::collections::BTreeMap;

/// The kernel refuses a program that takes its verifier more than 1,000,000 instructions. Other kernels count otherwise than
/// those that we try, and what comes must fit as well.
const MOST_WALKED: u32 = 250_000;
/// No kernel gives more than 512 bytes of stack to all functions on a way together.
const MOST_STACK: u32 = 448;

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

/// What each program takes, by its name.
pub(crate) fn rows(programs: &[Program]) -> BTreeMap<String, Row> {
    programs.iter().map(|program| (program.program.name().to_owned(), Row::from(program))).collect()
}

/// The lines for the file: a row a program, for one kernel.
pub(crate) fn lines(release: &str, rows: &BTreeMap<String, Row>) -> String {
    let series = series(release);
    let mut lines = format!("[kernels]\n\"{series}\" = \"{release}\"\n");
    for (program, Row { walked, stack, translated }) in rows {
        let row = format!("{WALKED} = {walked}, {STACK} = {stack}, {TRANSLATED} = {translated}");
        lines += &format!("\n[{program}]\n\"{series}\" = {{ {row} }}\n");
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

    /// What programs take more than was agreed on this kernel; and what would be good to know besides.
    pub(crate) fn over(&self, release: &str, measured: &BTreeMap<String, Row>) -> (Vec<String>, Vec<String>) {
        let (mut over, mut notes) = (Vec::new(), Vec::new());
        let series = series(release);
        let percent = match self.kernels.get(&series) {
            Some(agreed) if agreed == release => 100,
            Some(agreed) => {
                notes.push(format!("the numbers are Linux {agreed}'s; on {release} a tenth more is allowed."));
                110
            }
            None => {
                notes
                    .push(format!("there are no numbers for Linux {series}: only twice the largest is too much here."));
                200
            }
        };
        for (program, row) in measured {
            let Some(agreed) = self.row(program, &series) else {
                over.push(format!("{program} is not in the budget"));
                continue;
            };
            for (what, number, agreed, percent) in [
                (WALKED, row.walked, agreed.walked, percent),
                // The compiler's, not the kernel's.
                (STACK, row.stack, agreed.stack, 100),
                (TRANSLATED, row.translated, agreed.translated, percent),
            ] {
                if u64::from(number) * 100 > u64::from(agreed) * percent {
                    over.push(format!("{program}: {number} {what}, and {agreed} were agreed"));
                } else if percent == 100 && number < agreed {
                    notes.push(format!("{program}: only {number} {what}; lower {agreed} to that."));
                }
            }
        }
        let gone = self.programs.keys().filter(|program| !measured.contains_key(*program));
        over.extend(gone.map(|program| format!("{program} is in the budget and not in the object")));
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

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: Row = Row { walked: 1000, stack: 96, translated: 800 };

    fn budget(kernels: &[(&str, &str)]) -> Budget {
        let rows: BTreeMap<_, _> = kernels.iter().map(|(series, _)| ((*series).to_owned(), ROW)).collect();
        let kernels = kernels.iter().map(|(series, release)| ((*series).to_owned(), (*release).to_owned()));
        Budget { kernels: kernels.collect(), programs: BTreeMap::from([("follow".to_owned(), rows)]) }
    }

    fn over(release: &str, walked: u32) -> bool {
        let measured = BTreeMap::from([("follow".to_owned(), Row { walked, ..ROW })]);
        let (over, _) = budget(&[("6.1", "6.1.0-56-cloud-amd64")]).over(release, &measured);
        !over.is_empty()
    }

    #[test]
    fn the_lines_are_what_the_file_wants() {
        let measured = BTreeMap::from([("follow".to_owned(), ROW)]);
        let text = lines("6.12.117+deb12-cloud-amd64", &measured);
        assert_eq!(Budget::parse(&text), Ok(budget(&[("6.12", "6.12.117+deb12-cloud-amd64")])), "{text}");
    }

    #[test]
    fn the_kernel_that_was_measured_allows_nothing_more_its_next_release_a_tenth_another_twice() {
        for (release, most) in [("6.1.0-56-cloud-amd64", 1000), ("6.1.0-60-cloud-amd64", 1100), ("6.6.1", 2000)] {
            assert!(!over(release, most), "{most} on {release}");
            assert!(over(release, most + 1), "{} on {release}", most + 1);
        }
    }

    #[test]
    fn a_program_without_a_row_and_a_row_without_a_program_are_told() {
        let measured = BTreeMap::from([("open".to_owned(), ROW)]);
        let (over, _) = budget(&[("6.1", "6.1.0")]).over("6.1.0", &measured);
        assert_eq!(over, ["open is not in the budget", "follow is in the budget and not in the object"]);
    }

    #[test]
    fn what_leaves_no_room_and_what_is_missing_are_faults() {
        let mut budget = budget(&[("6.1", "6.1.0"), ("6.12", "6.12.1")]);
        assert_eq!(budget.faults(), [""; 0]);
        budget.kernels.insert("6.18".to_owned(), "6.18.2".to_owned());
        let rows = budget.programs.get_mut("follow").expect("it is there");
        rows.insert("6.1".to_owned(), Row { walked: MOST_WALKED + 1, ..ROW });
        rows.insert("6.12".to_owned(), Row { stack: MOST_STACK + 1, ..ROW });
        assert_eq!(budget.faults().len(), 3, "{:?}", budget.faults());
    }
}
