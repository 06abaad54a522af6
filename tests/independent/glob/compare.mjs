// Prints which files the runner's `hashFiles` would hash, for the pattern lists of cases.json.
//
//   node compare.mjs --make-tree DIR --cases cases.json
//       creates the tree that the cases are about
//   node compare.mjs --workspace DIR --cases cases.json [--module NAME]
//       prints {"case name": ["path", …]}, paths relative to DIR, sorted by their UTF-8 bytes
//
// The environment variable GLOB_MODULES names a directory that holds `node_modules` with the dependencies of
// package.json, so that nothing need be installed beside this file. `--module` chooses between two of them:
// `@actions/glob` (the default, which uses minimatch 10) and `actions-glob-shipped` (0.4.0, which uses minimatch 3,
// as the bundle inside the released runners does). All of "cases" must give the same answer with either.
//
// The rule copied here is that of the runner's src/Misc/expressionFunc/hashFiles: links are not followed, a directory
// takes all below it, only files inside the workspace count. A pattern list that `hashFiles` refuses gives
// {"error": "…"} in place of the list.

import fs from 'node:fs'
import path from 'node:path'
import { createRequire } from 'node:module'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'

const HERE = path.dirname(fileURLToPath(import.meta.url))

async function loadGlob(name) {
  const directory = path.resolve(process.env.GLOB_MODULES || HERE)
  const manifest = path.join(directory, 'node_modules', name, 'package.json')
  if (!fs.existsSync(manifest)) {
    throw new Error(`${name} is not under ${directory}/node_modules: run npm install there, or set GLOB_MODULES`)
  }
  const main = JSON.parse(fs.readFileSync(manifest, 'utf8')).main
  const file = path.join(path.dirname(manifest), main)
  let module
  try {
    module = await import(pathToFileURL(file).href)
  } catch (error) {
    if (error.code !== 'ERR_REQUIRE_ESM') throw error
    module = createRequire(manifest)(file)
  }
  return module.create ? module : module.default
}

async function selectFiles(glob, patterns) {
  const workspace = process.cwd()
  const globber = await glob.create(patterns, { followSymbolicLinks: false })
  const selected = []
  for await (const file of globber.globGenerator()) {
    if (!file.startsWith(`${workspace}${path.sep}`)) continue
    if (fs.statSync(file).isDirectory()) continue
    selected.push(file.slice(workspace.length + 1))
  }
  return selected.sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
}

function makeTree(directory, tree) {
  for (const { path: name, content } of tree) {
    const file = path.join(directory, name)
    fs.mkdirSync(path.dirname(file), { recursive: true })
    fs.writeFileSync(file, content)
  }
}

const { values } = parseArgs({
  options: {
    workspace: { type: 'string' },
    cases: { type: 'string', default: path.join(HERE, 'cases.json') },
    module: { type: 'string', default: '@actions/glob' },
    'make-tree': { type: 'string' },
  },
})
const document = JSON.parse(fs.readFileSync(values.cases, 'utf8'))

if (values['make-tree'] !== undefined) {
  makeTree(path.resolve(values['make-tree']), document.tree)
}
if (values.workspace !== undefined) {
  const glob = await loadGlob(values.module)
  process.chdir(values.workspace)
  // A map, because an object would put names that look like numbers first.
  const answers = new Map()
  // The toolkit logs `::debug::` lines to standard output, where only the answer belongs.
  const write = process.stdout.write.bind(process.stdout)
  process.stdout.write = () => true
  for (const { name, patterns } of document.cases) {
    const text = patterns.replaceAll('@@WORKSPACE@@', process.cwd())
    try {
      answers.set(name, await selectFiles(glob, text))
    } catch (error) {
      answers.set(name, { error: error.message })
    }
  }
  const lines = [...answers].map(([name, files]) => `${JSON.stringify(name)}:${JSON.stringify(files)}`)
  write(`{${lines.join(',\n')}}\n`)
}
if (values['make-tree'] === undefined && values.workspace === undefined) {
  process.stderr.write('usage: compare.mjs (--make-tree DIR | --workspace DIR) [--cases FILE] [--module NAME]\n')
  process.exitCode = 2
}
