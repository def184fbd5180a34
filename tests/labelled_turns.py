"""Turns with the language that a person would file them under, hard cases among them; "" is none of the five.

A session is a list of turns: (label, request, what was done). Labels with a "+" mean both.
"""

from __future__ import annotations

from typing import Any

from specialists.sessions.chat import Step, Turn
from specialists.tools import Call


def edit(path: str) -> Call:
    return Call("edit", {"filePath": path, "oldString": "a", "newString": "b"}, "Edit applied successfully.")


def write(path: str, content: str = "x") -> Call:
    return Call("write", {"filePath": path, "content": content}, "Wrote file successfully.")


def read(path: str, content: str = "") -> Call:
    return Call("read", {"filePath": path}, f"<path>{path}</path>\n<content>\n{content}\n</content>")


def bash(command: str, output: str = "", exit: int = 0) -> Call:
    return Call("bash", {"command": command}, output, exit=exit)


def grep(pattern: str, include: str = "", output: str = "") -> Call:
    return Call("grep", {"pattern": pattern, **({"include": include} if include else {})}, output)


def glob(pattern: str) -> Call:
    return Call("glob", {"pattern": pattern}, "")


def task(agent: str) -> Call:
    return Call("task", {"description": "d", "prompt": "p", "subagent_type": agent}, "done")


def turn(number: int, request: str, done: list[Any], agent: str = "build") -> Turn:
    steps = [
        Step("" if isinstance(one, Call) else one, [one] if isinstance(one, Call) else [], None, agent) for one in done
    ]
    return Turn(f"msg_{number}", number, request, steps)


CARGO_FAIL = "   Compiling app v0.1.0\nerror[E0502]: cannot borrow `x`\n  --> src/main.rs:4:5\n"
CARGO_OK = "running 3 tests\ntest result: ok. 3 passed; 0 failed\n"
TSC_FAIL = "src/app.ts(3,5): error TS2322: Type 'string' is not assignable to type 'number'.\n"
PYTEST_FAIL = "E   AssertionError\n==== 1 failed, 3 passed in 0.12s ====\n"
TRACEBACK = 'Traceback (most recent call last):\n  File "tools/gen.py", line 3, in <module>\nKeyError: 1\n'
RSPEC = "Failures:\n  # ./app/models/user.rb:12:in `save'\n3 examples, 1 failure\n"
SWIFT_FAIL = "Sources/App/View.swift:10:5: error: cannot find 'x' in scope\n"

SESSIONS: list[tuple[str, list[tuple[str, str, list[Any]]]]] = [
    (
        "a Rust session with everything around it",
        [
            ("rust", "Add a parser", [read("src/parser.rs"), edit("src/parser.rs"), bash("cargo test", CARGO_OK)]),
            ("rust", "It does not build", [bash("cargo build", CARGO_FAIL, 101), edit("src/main.rs")]),
            ("rust", "now run clippy too", [bash("cargo clippy --all-targets -- -D warnings 2>&1 | tail -20")]),
            ("rust", "commit that", [bash("git add -A && git commit -m 'Add parser'")]),
            ("", "Write the README", [read("README.md", "```swift\nlet x = 1\n```"), edit("README.md")]),
            ("rust", "bump the serde dependency", [edit("Cargo.toml"), bash("cargo update -p serde")]),
            ("rust", "The wasm demo needs a package.json entry", [read("package.json"), edit("package.json")]),
            (
                "rust",
                "thanks, what does Pin mean there?",
                ["It keeps a value in place:\n```rust\nlet p = Pin::new(&mut x);\n```"],
            ),
            ("", "the workflow should cache", [read(".github/workflows/ci.yml"), edit(".github/workflows/ci.yml")]),
            ("rust", "why is the test flaky", [grep("thread::sleep", "*.rs"), read("tests/flaky.rs"), "It races."]),
        ],
    ),
    (
        "a TypeScript project whose CI installs with pip",
        [
            (
                "ts",
                "type the store",
                [read("src/store.ts"), edit("src/store.ts"), bash("npx tsc --noEmit", TSC_FAIL, 2)],
            ),
            (
                "ts",
                "CI fails at the pre-commit step",
                [
                    bash("pip install pre-commit && pre-commit run -a", "eslint...Failed\nsrc/store.ts:3:1 error"),
                    edit("src/store.ts"),
                ],
            ),
            ("", "pin pre-commit in the workflow", [edit(".github/workflows/lint.yml")]),
            ("ts", "add vitest", [edit("package.json"), bash("npm install -D vitest"), write("src/store.test.ts")]),
            ("ts", "run them", [bash("npm test", "Tests:  4 passed")]),
            (
                "ts",
                "pretty-print the lock file's head",
                [bash("head -c 300 package-lock.json | python3 -m json.tool"), bash("npx tsc -v")],
            ),
        ],
    ),
    (
        "Python with native parts",
        [
            ("python", "vectorise it", [read("src/model.py"), edit("src/model.py"), bash("pytest -q", PYTEST_FAIL, 1)]),
            (
                "python",
                "is the extension built?",
                [bash("pip install -e . && python -c 'import ext'"), read("setup.py")],
            ),
            (
                "",
                "fix the overflow in the C kernel",
                [read("src/kernel.c"), edit("src/kernel.c"), bash("python setup.py build_ext --inplace")],
            ),
            ("python", "profile it", [bash("python -m cProfile -s cumtime bench.py | head -30", "ncalls tottime")]),
            ("python", "use uv", [edit("pyproject.toml"), bash("uv sync")]),
            ("python", "write it with a here-document", [bash("cat > tools/gen.py <<'EOF'\ncargo = 'npm test'\nEOF")]),
        ],
    ),
    (
        "Rails",
        [
            (
                "ruby",
                "validate the e-mail",
                [read("app/models/user.rb"), edit("app/models/user.rb"), bash("bundle exec rspec", RSPEC, 1)],
            ),
            ("ruby", "add a migration", [bash("bin/rails g migration AddIndex"), edit("db/migrate/1_add_index.rb")]),
            (
                "ruby",
                "the view shows nil",
                [read("app/views/users/show.html.erb"), edit("app/views/users/show.html.erb")],
            ),
            ("", "the button is off by a pixel", [edit("app/assets/stylesheets/app.css")]),
            ("", "the stimulus controller throws", [read("app/javascript/form.js"), edit("app/javascript/form.js")]),
            ("ruby", "bundle is broken", [edit("Gemfile"), bash("bundle install")]),
            ("ruby", "deploy it", [bash("bin/deploy staging", "ok")]),
        ],
    ),
    (
        "Swift on a Mac",
        [
            ("swift", "make it Equatable", [edit("Sources/App/Shape.swift"), bash("swift build", SWIFT_FAIL, 1)]),
            ("swift", "run the UI tests", [bash("xcodebuild test -scheme App", "Test Suite 'All' passed at 1")]),
            ("swift", "add the package", [edit("Package.swift"), bash("swift package resolve")]),
            ("swift", "the fastlane lane is slow", [edit("App/Slow.swift"), bash("bundle exec fastlane test")]),
            ("", "fix the bridging header", [edit("App/Bridge.h"), edit("App/Bridge.m")]),
        ],
    ),
    (
        "one session over two languages, turn by turn",
        [
            ("rust", "fix the core", [edit("core/src/lib.rs"), bash("cd core && cargo test", CARGO_OK)]),
            ("ts", "now the front end", [read("web/app.ts"), edit("web/app.ts"), bash("cd web && npm run build")]),
            ("rust+ts", "rename it on both sides", [edit("core/src/lib.rs"), edit("web/app.ts")]),
            ("ts", "and the bindings", [edit("web/bindings.ts"), bash("wasm-pack build core && npx tsc")]),
            ("rust", "the core again", [read("core/src/lib.rs"), edit("core/src/lib.rs")]),
        ],
    ),
    (
        "Go is not in the configuration",
        [
            ("", "add a handler", [read("main.go"), edit("main.go"), bash("go test ./...")]),
            ("", "generate the mocks", [bash("python3 tools/mock.py"), edit("mock.go")]),
            ("", "commit", [bash("git commit -am x")]),
        ],
    ),
    (
        "documents only",
        [
            ("", "write a tutorial on Swift concurrency", [write("docs/tutorial.md", "```swift\nactor A {}\n```")]),
            (
                "",
                "fix the typos",
                [read("docs/tutorial.md"), edit("docs/tutorial.md"), bash("grep -c swift docs/*.md")],
            ),
        ],
    ),
    ("a question without a project", [("", "what time is it in Lisbon", ["About nine."])]),
    (
        "a question with an answer in code",
        [("python", "how do I read a CSV in Python", ["```python\nimport csv\n```"])],
    ),
    ("an answer in a foreign language", [("", "how do I do that in Go", ["```go\nfunc main() {}\n```"])]),
    (
        "shell scripts",
        [("", "make the backup script safer", [read("backup.sh"), edit("backup.sh"), bash("shellcheck backup.sh")])],
    ),
    ("a Makefile", [("", "add a target", [read("Makefile"), edit("Makefile"), bash("make lint")])]),
    (
        "reading only",
        [("rust", "where is it called", [grep("half", "*.rs", "src/lib.rs:1"), read("src/lib.rs"), "Nowhere."])],
    ),
    (
        "searching in another repository",
        [("ts", "port it", [read("../old/util.py"), write("src/util.ts"), bash("npx tsc")])],
    ),
    ("only failing commands", [("python", "why does it crash", [bash("doit", TRACEBACK, 1), read("tools/gen.py")])]),
    (
        "a Rust crate with a Python binding",
        [
            (
                "rust",
                "expose it",
                [edit("src/py.rs"), bash("maturin develop && python -c 'import x'"), bash("cargo check")],
            ),
            (
                "python",
                "now a test for the binding",
                [write("tests/test_x.py"), bash("pytest tests -q", PYTEST_FAIL, 1)],
            ),
        ],
    ),
    (
        "sed as an editor",
        [("ts", "rename it", [bash("sed -i 's/foo/bar/g' src/a.ts src/b.ts"), bash("npx tsc --noEmit")])],
    ),
    ("delegated", [("swift", "let the specialist do it", [task("build-swift"), "Done."])]),
    ("echo and strings are not commands", [("", "remind me", [bash("echo 'cargo test; npm test; swift build'")])]),
    (
        "a log mentions everything",
        [
            (
                "python",
                "why did the job die",
                [
                    bash("tail -100 job.log", "cargo build\nnpm WARN\n" + TRACEBACK),
                    read("jobs/run.py"),
                    edit("jobs/run.py"),
                ],
            )
        ],
    ),
    (
        "docker",
        [
            (
                "",
                "make the image smaller",
                [read("Dockerfile", "RUN pip install x"), edit("Dockerfile"), bash("docker build .")],
            )
        ],
    ),
    ("SQL", [("", "add an index", [edit("schema.sql"), bash("psql -f schema.sql")])]),
    (
        "a dotfile in TypeScript",
        [("ts", "add a plugin to opencode", [write("plugin/notify.ts"), edit("opencode.jsonc")])],
    ),
    ("ERB by name", [("ruby", "fix lib/tasks/seed.rake", [read("lib/tasks/seed.rake"), edit("lib/tasks/seed.rake")])]),
    (
        "Swift without a build",
        [("swift", "rename the view", [grep("struct Old", "*.swift"), edit("App/OldView.swift")])],
    ),
    (
        "pnpm workspace",
        [("ts", "move the package", [bash("git mv a b"), edit("pnpm-workspace.yaml"), edit("b/src/index.tsx")])],
    ),
    (
        "stack trace pasted by the user",
        [("ruby", "app/models/user.rb:12:in `save' NoMethodError", ["`name` is nil there; guard it."])],
    ),
    ("YAML for a Python tool", [("", "raise the line length", [edit(".pre-commit-config.yaml")])]),
    (
        "Jupyter",
        [
            (
                "python",
                "speed up the loader",
                [read("train/loader.py"), edit("train/loader.py"), bash("python train/loader.py")],
            )
        ],
    ),
    (
        "Vue with TypeScript beside it",
        [("ts", "type the props", [edit("src/types.ts"), edit("src/api.ts"), edit("src/App.vue")])],
    ),
    (
        "cargo in an npm script",
        [("ts", "build everything", [bash("npm run build", "> cargo build && vite build"), edit("vite.config.ts")])],
    ),
    (
        "bench in Rust driven by Python",
        [
            (
                "rust",
                "make it faster",
                [
                    edit("src/scan.rs"),
                    edit("src/simd.rs"),
                    bash("cargo build --release"),
                    bash("python3 bench.py --runs 5", "1.2x"),
                ],
            )
        ],
    ),
    ("agent says it", [("", "hello", ["Hi."])]),
]
