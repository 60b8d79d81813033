//! The table for people.

use crate::measure::Program;

/// A program a block, a function a line.
pub(crate) fn table(programs: &[Program]) -> String {
    let mut table = String::new();
    for program in programs {
        let (made, functions) = (&program.made, &program.program.functions);
        let width = functions.iter().map(|function| function.name.len()).max().unwrap_or_default().max(24);
        let mut line = |name: &str, cells: [String; 4]| {
            let [walked, stack, translated, jited] = cells;
            table +=
                &format!("{name:<width$}  {walked:>9}  {stack:>5}  {translated:>10}  {jited:>6}\n", width = width + 2);
        };
        line(program.program.name(), ["walked", "stack", "translated", "jited"].map(str::to_owned));
        for (index, function) in functions.iter().enumerate() {
            // Fewer than functions: some are gone, and it is not known which.
            let of = |numbers: &Option<Vec<u32>>| match numbers.as_ref() {
                Some(numbers) if numbers.len() == functions.len() => numbers[index].to_string(),
                _ => "-".to_owned(),
            };
            let stack = program.frames[index].to_string();
            let (translated, jited) = (of(&made.translated_by_function), of(&made.jited_by_function));
            line(&format!("  {}", function.name), [of(&program.walked), stack, translated, jited]);
        }
        let shown = program.walked.as_ref().map_or(made.walked, |walked| walked.iter().sum());
        if shown != made.walked {
            // Less is not in the log, more cannot be.
            let rest = i64::from(made.walked) - i64::from(shown);
            line("  (not in the log)", [rest.to_string(), String::new(), String::new(), String::new()]);
        }
        let numbers = [made.walked, program.deepest.stack, made.translated, made.jited];
        line("  together", numbers.map(|number| number.to_string()));
        let names = program.deepest.functions.iter().map(|function| functions[*function].name.as_str());
        table += &format!("  deepest: {}\n\n", names.collect::<Vec<_>>().join(" > "));
    }
    table
}
