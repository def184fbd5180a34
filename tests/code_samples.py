"""A page of code in each of the five languages, with the same shapes in all of them."""

RUST = """\
/// Adds a book to the shelf.
///
/// Books without a title are refused.
#[must_use]
pub fn add(shelf: &mut Shelf, book: Book) -> Result<usize, Error> {
    if book.title.is_empty() {
        return Err(Error::Untitled);
    }
    shelf.check(&book)?;
    Ok(shelf.books.len() - 1)
}

impl Shelf {
    /// The first book on the shelf that is long enough.
    pub async fn long(&self, least: usize) -> Option<&Book> {
        self.load().await;
        self.books.iter().find(|book| book.pages >= least && book.ready == true)
    }
}
"""

TYPESCRIPT = """\
/**
 * Adds a book to the shelf.
 */
export async function add(shelf: Shelf, book: Book): Promise<number> {
  if (!book.title) throw new Error('untitled')
  await load(shelf, book)
  return shelf.books.length - 1
}

export class Library {
  /** The first book of at least so many pages that is ready. */
  long(least: number): Book | undefined {
    return this.books.find((book) => book.pages >= least && book.ready === true)
  }
}

/** Doubles a number. */
export const twice = (count: number): number => {
  const next = count * 2
  return Math.max(next, count)
}
"""

PYTHON = '''\
# About adding.
@cached
def add(shelf, book):
    """Add a book to the shelf.

    :param book: what to add
    """
    if not book.title:
        raise ValueError("untitled")
    shelf.count += 1
    return len(shelf.books) - 1


class Library:
    """All shelves."""

    async def long(self, least, other=None):
        if self.closed:
            return None
        return self.pick([book for book in self.books if book.pages >= least and book.ready == True])
'''

RUBY = """\
# A shelf of books.
class Shelf < Base
  # Adds a book to the shelf.
  # rubocop:disable Metrics
  #
  # Books without a title are refused.
  def add(book)
    raise ArgumentError, "untitled" unless book.title
    @count += 1
    @books.length - 1
  end

  class << self
    def long(least, other)
      return nil if other.closed?
      pick(other.books.select { |book| book.pages >= least && book.ready == true }, quiet: true)
    end
  end

  private def hidden
    compute
  end
end
"""

SWIFT = """\
/// Adds a book to the shelf.
///
/// - Parameter book: what to add
@discardableResult
public func add(_ book: Book, to shelf: Shelf) throws -> Int {
  guard !book.title.isEmpty else { throw ShelfError.untitled }
  try shelf.check(book)
  shelf.seen = book.title
  return shelf.books.count - 1
}

extension Library {
  /// The first long book.
  var long: Book? {
    let label = closed ? name : title
    return find(label, limit: 3)
  }
}
"""

SAMPLES = {"rust": RUST, "typescript": TYPESCRIPT, "python": PYTHON, "ruby": RUBY, "swift": SWIFT}
SAMPLES = {f"tree_sitter_{name}": text for name, text in SAMPLES.items()}
FILES = {"rust": "shelf.rs", "ts": "shelf.ts", "python": "shelf.py", "ruby": "lib/shelf.rb", "swift": "Sources/A.swift"}
GRAMMARS = dict(zip(FILES, SAMPLES, strict=True))
