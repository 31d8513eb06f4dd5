//! Aligned columns that never wrap: on a narrow terminal the least needed columns go first.

use std::borrow::Cow;

/// How a cell is coloured, where colour is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// As it is.
    Plain,
    /// Heads.
    Bold,
    /// As it should be.
    Good,
    /// On its way.
    Warn,
    /// Not as it should be.
    Bad,
    /// Less important.
    Dim,
    /// A name.
    Name,
}

impl Style {
    /// `text` in this style (ECMA-48, SGR).
    #[must_use]
    pub fn paint(self, text: &str, colour: bool) -> String {
        let mut painted = String::new();
        self.paint_into(text, colour, &mut painted);
        painted
    }

    fn paint_into(self, text: &str, colour: bool, line: &mut String) {
        let code = match self {
            Self::Plain => return line.push_str(text),
            Self::Bold => "1",
            Self::Good => "32",
            Self::Warn => "33",
            Self::Bad => "31",
            Self::Dim => "2",
            Self::Name => "36",
        };
        let parts =
            if colour { ["\x1b[", code, "m", text, "\x1b[0m"] } else { ["", "", "", text, ""] };
        line.extend(parts);
    }
}

/// A column.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Its head.
    pub head: &'static str,
    /// Numbers stand to the right.
    pub right: bool,
    /// 0 stays always; of the others the lowest is needed most.
    pub expendable: u8,
}

/// A cell: text that is already safe to show.
#[derive(Debug, Clone)]
pub struct Cell(pub String, pub Style);

/// A row, and a line under it.
#[derive(Debug, Clone)]
pub struct Row {
    /// One for each column.
    pub cells: Vec<Cell>,
    /// What must be said about it.
    pub below: Option<String>,
}

const GAP: usize = 2;

/// The lines of a table; none is longer than `width` characters.
#[must_use]
pub fn render(columns: &[Column], rows: &[Row], width: Option<usize>, colour: bool) -> Vec<String> {
    let widths: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(index, column)| {
            let cells = rows.iter().filter_map(|row| row.cells.get(index));
            cells.map(|cell| length(&cell.0)).max().unwrap_or(0).max(length(column.head))
        })
        .collect();
    let shown = columns_that_fit(columns, &widths, width);
    let line = |cells: &[Cell]| {
        let mut left = width.unwrap_or(usize::MAX);
        let mut line = String::new();
        for (place, index) in shown.iter().enumerate() {
            let is_last = place + 1 == shown.len();
            let Cell(text, style) = &cells[*index];
            let text = shortened(text, left);
            let space = widths[*index].min(left) - length(&text);
            let is_right = columns[*index].right;
            let (before, after) = if is_right { (space, 0) } else { (0, space) };
            line.extend(std::iter::repeat_n(' ', before));
            style.paint_into(&text, colour, &mut line);
            line.extend(std::iter::repeat_n(' ', if is_last { 0 } else { after }));
            left = left.saturating_sub(widths[*index] + GAP);
            if left == 0 {
                break;
            }
            if !is_last {
                line.extend(std::iter::repeat_n(' ', GAP));
            }
        }
        line
    };
    let heads: Vec<Cell> =
        columns.iter().map(|column| Cell(column.head.to_owned(), Style::Bold)).collect();
    let mut lines = vec![line(&heads)];
    for row in rows {
        lines.push(line(&row.cells));
        if let Some(below) = &row.below {
            lines.push(cut(&format!("  {below}"), width.unwrap_or(usize::MAX)));
        }
    }
    lines
}

/// The columns that stay, then of the others, the most needed first, each for which there is room.
fn columns_that_fit(columns: &[Column], widths: &[usize], width: Option<usize>) -> Vec<usize> {
    let mut by_need: Vec<usize> = (0..columns.len()).collect();
    by_need.sort_by_key(|index| columns[*index].expendable);
    let mut shown = Vec::with_capacity(columns.len());
    let mut used = 0;
    for index in by_need {
        let needed = used + widths[index] + if shown.is_empty() { 0 } else { GAP };
        if columns[index].expendable == 0 || width.is_none_or(|width| needed <= width) {
            used = needed;
            shown.push(index);
        }
    }
    shown.sort_unstable();
    shown
}

/// `text` in at most `width` characters, the end of a longer one marked.
#[must_use]
pub fn cut(text: &str, width: usize) -> String {
    shortened(text, width).into_owned()
}

fn shortened(text: &str, width: usize) -> Cow<'_, str> {
    if length(text) <= width {
        return Cow::Borrowed(text);
    }
    Cow::Owned(match width {
        0..=3 => ".".repeat(width),
        _ => text.chars().take(width - 3).chain("...".chars()).collect(),
    })
}

/// In characters: names are ASCII, and a wide character in a reason costs only its alignment.
fn length(text: &str) -> usize {
    text.chars().count()
}
