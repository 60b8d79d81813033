//! Tables of words in columns.

use std::fmt;

/// Rows of words; columns are as wide as their widest word.
#[derive(Debug)]
pub(crate) struct Table<const N: usize> {
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    /// A table with these heads.
    pub(crate) fn new(heads: [&str; N]) -> Self {
        Self { rows: vec![heads.map(str::to_owned)] }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, row: [String; N]) {
        self.rows.push(row);
    }
}

impl<const N: usize> fmt::Display for Table<N> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut widths = [0; N];
        for row in &self.rows {
            for (width, word) in widths.iter_mut().zip(row) {
                *width = (*width).max(word.chars().count());
            }
        }
        for row in &self.rows {
            let cells: Vec<_> = row.iter().zip(widths).map(|(word, width)| format!("{word:<width$}")).collect();
            writeln!(out, "{}", cells.join("  ").trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_each_other_and_lines_end_with_words() {
        let mut table = Table::new(["NAME", "N"]);
        table.row(["a long one".to_owned(), "1".to_owned()]);
        table.row(["é".to_owned(), String::new()]);
        assert_eq!(table.to_string(), "NAME        N\na long one  1\né\n");
    }
}
