"""Turns with the language that a person would file them under, hard cases among them; "" is none of the five."""

from collections import defaultdict

from specialists.sessions.chat import Step, Turn
from specialists.tools import Call


def edit(path: str) -> Call:
    return Call("edit", {"filePath": path, "oldString": "a", "newString": "b"}, "Edit applied successfully.")


def write(path: str, content: str = "x") -> Call:
    return Call("write", {"filePath": path, "content": content}, "Wrote file successfully.")


def read(path: str, content: str = "") -> Call:
    return Call("read", {"filePath": path}, f"<path>{path}</path>\n<content>\n{content}\n</content>")


def revise(path: str) -> list[Call]:
    return [read(path), edit(path)]


def bash(command: str, output: str = "", exit: int = 0) -> Call:
    return Call("bash", {"command": command}, output, exit=exit)


def grep(pattern: str, include: str = "", output: str = "") -> Call:
    return Call("grep", {"pattern": pattern, **({"include": include} if include else {})}, output)


def task(agent: str) -> Call:
    return Call("task", {"description": "d", "prompt": "p", "subagent_type": agent}, "done")


def turn(request: str, *done: Call | str, agent: str = "build") -> Turn:
    """A step for each call or answer."""
    steps = [Step(one, [], agent=agent) if isinstance(one, str) else Step("", [one], agent=agent) for one in done]
    return Turn("msg_1", 1, request, steps)


CARGO_OK = "running 3 tests\ntest result: ok. 3 passed; 0 failed\n"
TSC_FAIL = "src/app.ts(3,5): error TS2322: Type 'string' is not assignable to type 'number'.\n"
PYTEST_FAIL = "E   AssertionError\n==== 1 failed, 3 passed in 0.12s ====\n"
TRACEBACK = 'Traceback (most recent call last):\n  File "tools/gen.py", line 3, in <module>\nKeyError: 1\n'
RSPEC = "Failures:\n  # ./app/models/user.rb:12:in `save'\n3 examples, 1 failure\n"
SWIFT_FAIL = "Sources/App/View.swift:10:5: error: cannot find 'x' in scope\n"

NODE_GYP = "npm ERR! gyp ERR!\n" + TRACEBACK
PYTHON_HEAD, RUBY_HEAD = "#!/usr/bin/env python3\nimport sys\n", "1: #!/usr/bin/env ruby\n2: puts 1"

SESSIONS: dict[str, list[tuple[str, Turn]]] = defaultdict(list)


def add(session: str, label: str, request: str, *done: Call | str) -> None:
    """One more turn of a session; a label with a "+" means both."""
    SESSIONS[session].append((label, turn(request, *done)))


add("Rust", "rust", "Add a parser", *revise("src/parser.rs"), bash("cargo test", CARGO_OK))
add("Rust", "rust", "now run clippy too", bash("cargo clippy --all-targets -- -D warnings 2>&1 | tail -20"))
add("Rust", "", "Write the README", read("README.md", "```swift\nlet x = 1\n```"), edit("README.md"))
add("Rust", "rust", "bump the serde dependency", edit("Cargo.toml"), bash("cargo update -p serde"))
add("Rust", "rust", "The wasm demo needs a package.json entry", *revise("package.json"))
add("Rust", "rust", "what does Pin mean there?", "It stays in place:\n```rust\nlet p = Pin::new(&mut x);\n```")
add("Rust", "", "the workflow should cache", *revise(".github/workflows/ci.yml"))
add("TypeScript", "ts", "type the store", *revise("src/store.ts"), bash("npx tsc --noEmit", TSC_FAIL, 2))
add("TypeScript", "ts", "CI fails", bash("pip install pre-commit; pre-commit run -a"), edit("src/store.ts"))
add("TypeScript", "ts", "add vitest", edit("package.json"), bash("npm install -D vitest"), write("src/store.test.ts"))
add("TypeScript", "ts", "show the lock file", bash("head package-lock.json | python3 -m json.tool"), bash("npx tsc -v"))
add("Python", "python", "vectorise it", *revise("src/model.py"), bash("pytest -q", PYTEST_FAIL, 1))
add("Python", "python", "is the extension built?", bash("pip install -e . && python -c 'import ext'"), read("setup.py"))
add("Python", "", "fix the C kernel", *revise("src/kernel.c"), bash("python setup.py build_ext --inplace"))
add("Python", "python", "write it with a here-document", bash("cat > tools/gen.py <<'EOF'\ncargo = 'npm test'\nEOF"))
add("Rails", "ruby", "validate the e-mail", *revise("app/models/user.rb"), bash("bundle exec rspec", RSPEC, 1))
add("Rails", "ruby", "add a migration", bash("bin/rails g migration AddIndex"), edit("db/migrate/1_add_index.rb"))
add("Rails", "ruby", "the view shows nil", *revise("app/views/users/show.html.erb"))
add("Rails", "", "the button is off by a pixel", edit("app/assets/stylesheets/app.css"))
add("Rails", "", "the stimulus controller throws", *revise("app/javascript/form.js"))
add("Rails", "ruby", "deploy it", bash("bin/deploy staging", "ok"))
add("Swift", "swift", "make it Equatable", edit("Sources/App/Shape.swift"), bash("swift build", SWIFT_FAIL, 1))
add("Swift", "swift", "run the UI tests", bash("xcodebuild test -scheme App", "Test Suite 'All' passed at 1"))
add("Swift", "swift", "the fastlane lane is slow", edit("App/Slow.swift"), bash("bundle exec fastlane test"))
add("Swift", "", "fix the bridging header", edit("App/Bridge.h"), edit("App/Bridge.m"))
add("two languages", "rust", "fix the core", edit("core/src/lib.rs"), bash("cd core && cargo test", CARGO_OK))
add("two languages", "rust+ts", "rename it on both sides", edit("core/src/lib.rs"), edit("web/app.ts"))
add("two languages", "ts", "and the bindings", edit("web/bindings.ts"), bash("wasm-pack build core && npx tsc"))
add("Go", "", "add a handler", *revise("main.go"), bash("go test ./..."))
add("Go", "", "generate the mocks", bash("python3 tools/mock.py"), edit("mock.go"))
add("no project", "", "what time is it in Lisbon", "About nine.")
add("code in the answer", "python", "how do I read a CSV in Python", "```python\nimport csv\n```")
add("an answer in Go", "", "how do I do that in Go", "```go\nfunc main() {}\n```")
add("shell", "", "make the backup script safer", *revise("backup.sh"), bash("shellcheck backup.sh"))
add("reading only", "rust", "where is it called", grep("half", "*.rs", "src/lib.rs:1"), read("src/lib.rs"), "Nowhere.")
add("two repositories", "ts", "port it", read("../old/util.py"), write("src/util.ts"), bash("npx tsc"))
add("failing commands", "python", "why does it crash", bash("doit", TRACEBACK, 1), read("tools/gen.py"))
add("binding", "rust", "expose", edit("src/py.rs"), bash("maturin develop; python -c 'import x'; cargo check"))
add("sed as an editor", "ts", "rename it", bash("sed -i 's/foo/bar/g' src/a.ts src/b.ts"), bash("npx tsc --noEmit"))
add("delegated", "swift", "let the specialist do it", task("build-swift"), "Done.")
add("dotfile", "ts", "add a plugin to opencode", write("plugin/notify.ts"), edit("opencode.jsonc"))
add("ERB by name", "ruby", "fix lib/tasks/seed.rake", *revise("lib/tasks/seed.rake"))
add("stack trace", "ruby", "app/models/user.rb:12:in `save' NoMethodError", "`name` is nil there; guard it.")
add("Vue", "ts", "type the props", edit("src/types.ts"), edit("src/api.ts"), edit("src/App.vue"))
add("npm script", "ts", "build all", bash("npm run build", "> cargo build && vite build"), edit("vite.config.ts"))
# tools of one language in the work of another
add("icons", "swift", "resize the view", *revise("App/View.swift"), bash("swift build"))
add("icons", "swift", "make the icons again", bash("python3 scripts/icons.py --size 64", "wrote 12 icons"))
add("icons", "swift", "and lint", bash("pre-commit run -a; pip install -U pre-commit", "swiftlint....Passed"))
add("icons", "python", "the icon script crashes", read("scripts/icons.py"), edit("scripts/icons.py"))
add("icons alone", "python", "make the icons again", bash("python3 scripts/icons.py", TRACEBACK, 1))
add("npm wrapper", "rust", "speed up the scanner", edit("src/scan.rs"), bash("cargo bench"))
add("npm wrapper", "rust", "publish the npm wrapper", edit("npm/package.json"), bash("cd npm && npm publish"))
add("npm wrapper", "ts", "type its entry point", edit("npm/index.d.ts"), bash("npx tsc --noEmit -p npm"))
add("native module", "ts", "install fails", read("src/db.ts"), bash("npm install", NODE_GYP, 1))
add("native module, first turn", "ts", "npm install fails, why?", bash("npm install", NODE_GYP, 1))
add("gem with Rust", "ruby", "wrap the parser", edit("lib/fast/parser.rb"), bash("bundle exec rake test", RSPEC, 1))
add("gem with Rust", "rust", "it leaks", *revise("ext/fast/src/lib.rs"), bash("bundle exec rake compile test", RSPEC))
add("gem with Rust", "rust", "no unwrap", edit("ext/fast/src/lib.rs"), bash("rake compile"), bash("bundle exec rspec"))
add("gem with Rust", "ruby", "release it", edit("fast.gemspec"), bash("bundle exec rake release"))
add("Python with Rust", "rust", "release it", edit("src/lib.rs"), bash("maturin develop && pytest -q", PYTEST_FAIL, 1))
add("Python with Rust", "python", "test it", write("tests/test_gil.py"), bash("maturin develop && pytest -q"))
add("fastlane", "swift", "fix the crash", edit("App/Feed.swift"), bash("xcodebuild build", SWIFT_FAIL, 65))
add("fastlane", "swift", "upload a beta", bash("bundle exec fastlane beta", "fastlane.tools finished"))
add("Django front end", "python", "add a field", edit("shop/models.py"), bash("python manage.py makemigrations"))
add("Django front end", "python", "collect the assets", bash("npm run build && python manage.py collectstatic"))
# plain JavaScript
add("JavaScript beside", "ts", "type the client", edit("src/client.ts"), bash("npx tsc --noEmit"))
add("JavaScript beside", "ts", "ignore dist in eslint", *revise("eslint.config.js"), bash("npx eslint ."))
add("JavaScript beside", "ts", "the build script is slow", *revise("scripts/build.mjs"), bash("node scripts/build.mjs"))
add("tsconfig", "ts", "check the JavaScript too", edit("tsconfig.json"), edit("lib/old.js"))
add("plain JavaScript", "", "debounce the search", *revise("public/search.js"), bash("node --test"))
add("Rust with a page", "rust", "serve the page", edit("src/main.rs"), bash("cargo run"))
add("Rust with a page", "", "the button does nothing", edit("static/app.js"))
# files without a telling name
add("notebook", "python", "plot the losses", edit("notebooks/losses.ipynb"), bash("jupyter nbconvert --execute x"))
add("shebang", "python", "count words", write("bin/count", PYTHON_HEAD), bash("chmod +x bin/count; bin/count x"))
add("shebang", "python", "count lines as well", edit("bin/count"), bash("bin/count -l x"))
add("shebang read", "ruby", "the deploy tool forgets the tag", read("tools/deploy", RUBY_HEAD), edit("tools/deploy"))
add("shell by shebang", "", "make it quiet", write("bin/backup", "#!/bin/sh\nset -e\n"))
add("bin of a gem", "ruby", "add a command", edit("lib/tool/cli.rb"), bash("bundle exec rspec"))
add("bin of a gem", "ruby", "the executable should say its version", edit("exe/tool"))
add("Rakefile", "ruby", "a task for the docs", edit("Rakefile"), bash("npx typedoc"))
add("rack", "ruby", "mount it under /api", edit("config.ru"), bash("curl localhost:9292/api"))
add("Makefile", "", "a target for it", edit("Makefile"), bash("make docs"))
# turns without evidence of their own
add("once more", "rust", "split the module", edit("src/a.rs"), bash("cargo test", CARGO_OK))
add("once more", "", "note it in the changelog", edit("CHANGELOG.md"))
add("once more", "rust", "once more please", bash("git commit -am x && git push"), "Pushed.")
add("once more", "rust", "thanks! anything left?", "No.")
add("starts with words", "python", "what does this project do?", bash("ls -la"), "It sorts mail.")
add("starts with words", "python", "add a filter", edit("mail/filter.py"), bash("pytest"))
SESSIONS["own agent"].append(("swift", turn("hello", "Hi.", agent="build-swift")))
