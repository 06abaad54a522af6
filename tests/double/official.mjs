// GitHub's own artifact client, as a command.
//
//   node official.mjs upload NAME FILE...       upload --raw NAME FILE (no archive; the name is the file's)
//   node official.mjs list [--latest]           get NAME             download NAME DIRECTORY
//   node official.mjs delete NAME               id-token AUDIENCE
//   node official.mjs download-artifact [--raw] NAME|PATTERN DIRECTORY       what actions/download-artifact does
//   node official.mjs sequence             a fixed sequence of calls, and what they say on every service alike
//       print one JSON object. The environment is a runner's: ACTIONS_RUNTIME_TOKEN, ACTIONS_RESULTS_URL, … With
//       --repository OWNER/NAME --run-id N (and a token in LOOKUP_TOKEN) list, get, download and delete go through
//       the REST API at GITHUB_API_URL, as for another run or repository. With --old it is the last client that
//       uploads as version 4, as ml-cache does; act's service does not understand what the newest one uploads.
//   node official.mjs verify URL
//       tries a double at URL, which it resets, with all of that; prints what it called and ends with 1 at a difference.
//
// The environment variable ARTIFACT_MODULES names a directory that holds `node_modules` with the dependencies of
// package.json, so that nothing need be installed beside this file.

import assert from 'node:assert/strict'
import crypto from 'node:crypto'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'

const HERE = path.dirname(fileURLToPath(import.meta.url))

// The toolkit logs to standard output, where only the answer belongs.
const print = process.stdout.write.bind(process.stdout)
process.stdout.write = (text) => process.stderr.write(text)

function packageJson(name) {
  const directory = path.resolve(process.env.ARTIFACT_MODULES || HERE)
  const file = path.join(directory, 'node_modules', name, 'package.json')
  if (!fs.existsSync(file)) {
    throw new Error(`${name} is not under ${directory}/node_modules: run npm install there, or set ARTIFACT_MODULES`)
  }
  return { file, ...JSON.parse(fs.readFileSync(file, 'utf8')) }
}

// Some of the environment is read when a module is loaded, so none is loaded before it is needed.
async function load(name) {
  const { file, main } = packageJson(name)
  const module = await import(pathToFileURL(path.join(path.dirname(file), main)).href)
  // A package of the older kind arrives as the default export, or below it.
  return { ...module.default, ...module }
}

async function newClient(old) {
  const { DefaultArtifactClient } = await load(old ? 'artifact-5' : '@actions/artifact')
  return new DefaultArtifactClient()
}

async function run(command, args, { findBy, latest, raw, old } = {}) {
  if (command === 'id-token') return { value: await (await load('@actions/core')).getIDToken(args[0]) }
  if (command === 'sequence') return sequence()
  const client = await newClient(old)
  const [name, ...rest] = args
  switch (command) {
    case 'upload': {
      const files = rest.map((file) => path.resolve(file))
      return client.uploadArtifact(name, files, path.dirname(files[0]), { skipArchive: raw })
    }
    case 'list':
      return client.listArtifacts({ findBy, latest })
    case 'get':
      return client.getArtifact(name, { findBy })
    case 'download': {
      const { artifact } = await client.getArtifact(name, { findBy })
      const options = { path: path.resolve(rest[0]), expectedHash: artifact.digest, findBy }
      return { artifact, ...(await client.downloadArtifact(artifact.id, options)) }
    }
    case 'delete':
      return client.deleteArtifact(name, { findBy })
    case 'download-artifact':
      return downloadArtifact(client, name, path.resolve(rest[0]), { findBy, raw })
    default:
      throw new Error(`no such command: ${command}`)
  }
}

// The steps of actions/download-artifact v8.0.1 (src/download-artifact.ts): the artifact of that name, or the newest
// ones that match the pattern; each is downloaded, compared with the digest that the service has, and unpacked.
async function downloadArtifact(client, wanted, directory, { findBy, raw }) {
  const { Minimatch } = await load('minimatch')
  const isPattern = /[*?[]/.test(wanted)
  let artifacts = []
  if (isPattern) {
    const listed = await client.listArtifacts({ latest: true, findBy })
    artifacts = listed.artifacts.filter(({ name }) => new Minimatch(wanted).match(name))
  } else {
    artifacts = [(await client.getArtifact(wanted, { findBy })).artifact]
  }
  const place = (name) => (isPattern && artifacts.length > 1 ? path.join(directory, name) : directory)
  for (const { id, name, digest } of artifacts) {
    const options = { path: place(name), expectedHash: digest, skipDecompress: raw, findBy }
    const { digestMismatch } = await client.downloadArtifact(id, options)
    if (digestMismatch) throw new Error(`digest validation failed for ${name}`)
  }
  return { artifacts }
}

const sha256 = (bytes) => crypto.createHash('sha256').update(bytes).digest('hex')

// Calls the official clients, old to upload and new to read, as jobs do, and tells what cannot differ between services:
// numbers and times are their own, and act's lists have no digests and the size of a directory.
async function sequence() {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'sequence-'))
  try {
    const files = ['pointer.json', 'nested/other.txt'].map((name) => path.join(directory, 'from', name))
    for (const [index, file] of files.entries()) {
      fs.mkdirSync(path.dirname(file), { recursive: true })
      fs.writeFileSync(file, `{"number":${index}}`.repeat(1000 * (index + 1)))
      // The archive has the time, and equal archives have equal digests.
      fs.utimesSync(file, 1e9, 1e9)
    }
    const [old, client] = [await newClient(true), await newClient(false)]
    const facts = {}
    for (const [name, count] of [['sequence-a', 1], ['sequence-b', 2]]) {
      const { size, digest } = await old.uploadArtifact(name, files.slice(0, count), path.join(directory, 'from'))
      // The files of an archive have no certain order.
      facts[`upload ${name}`] = count === 1 ? { size, digest } : { size }
    }
    const mine = async (reader) => (await reader.listArtifacts({ latest: true })).artifacts
      .map(({ name }) => name).filter((name) => name.startsWith('sequence-')).sort()
    facts.list = await mine(client)
    facts['list, older client'] = await mine(old)
    for (const name of ['sequence-a', 'sequence-b']) {
      const { artifact } = await client.getArtifact(name)
      const target = path.join(directory, name)
      const { digestMismatch } = await client.downloadArtifact(artifact.id, { path: target, expectedHash: artifact.digest })
      const found = fs.readdirSync(target, { recursive: true }).map(String).sort()
        .filter((file) => fs.statSync(path.join(target, file)).isFile())
        .map((file) => [file, sha256(fs.readFileSync(path.join(target, file)))])
      facts[`download ${name}`] = { digestMismatch, files: Object.fromEntries(found) }
    }
    await client.deleteArtifact('sequence-a')
    facts['list after delete'] = await mine(client)
    facts['get after delete'] = await client.getArtifact('sequence-a').then(() => 'found', ({ name }) => name)
    return facts
  } finally {
    fs.rmSync(directory, { recursive: true })
  }
}

// The check of a double

const LOOKUP_TOKEN = 'github_pat_reads_the_models'
const SECOND_RUN = 77

class Verification {
  constructor(url) {
    this.url = url.replace(/\/$/, '')
    this.directory = fs.mkdtempSync(path.join(os.tmpdir(), 'official-'))
    this.calls = []
  }

  async control(command, body) {
    const request = body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) }
    const response = await fetch(`${this.url}/_control/${command}`, request)
    assert.equal(response.status, 200, `control ${command}: ${await response.clone().text()}`)
    return response.json()
  }

  // Does one thing with the official client, and notes it.
  async call(command, args, options) {
    const result = await run(command, args, options)
    this.calls.push(`${command}${options?.findBy ? ' (REST)' : ''}${options?.raw ? ' (raw)' : ''}`)
    return result
  }

  async start(fields) {
    const job = await this.control('runtime-token', fields)
    Object.assign(process.env, job.env)
    return job
  }

  pointerIn(directory) {
    return JSON.parse(fs.readFileSync(path.join(directory, 'pointer.json'), 'utf8'))
  }

  async verify() {
    await this.control('reset', {})
    Object.assign(process.env, {
      GITHUB_SERVER_URL: 'https://github.com',
      GITHUB_WORKSPACE: this.directory,
      GITHUB_RETENTION_DAYS: '90',
    })
    await this.control('state', {
      repositories: { 'org/models': { private: true }, 'org/serving': { private: true } },
      tokens: { [LOOKUP_TOKEN]: { kind: 'fine-grained', repositories: ['org/models'], permissions: { actions: 'write' } } },
    })
    await this.sameRun()
    await this.faults()
    await this.otherRepository()
    await this.idToken()
    await this.comments()
    return { calls: this.calls, requests: await this.requests() }
  }

  async sameRun() {
    const job = await this.start({ repository: 'org/models', run_id: SECOND_RUN, job: 'train' })
    const file = path.join(this.directory, 'pointer.json')
    const pointer = { schema: 'ml-cache/pointer/v1', model: 'fraud-detector' }
    fs.writeFileSync(file, JSON.stringify(pointer))

    const uploaded = await this.call('upload', ['pointer', file])
    assert.match(uploaded.digest, /^[0-9a-f]{64}$/)
    const { artifacts } = await this.call('list', [])
    assert.deepEqual(artifacts.map(({ name, id, size, digest }) => ({ name, id, size, digest })), [
      { name: 'pointer', id: uploaded.id, size: uploaded.size, digest: `sha256:${uploaded.digest}` },
    ])
    const { artifact } = await this.call('get', ['pointer'])
    assert.equal(artifact.id, uploaded.id)

    const target = path.join(this.directory, 'same-run')
    const downloaded = await this.call('download', ['pointer', target])
    assert.equal(downloaded.digestMismatch, false)
    assert.deepEqual(this.pointerIn(target), pointer)

    await assert.rejects(
      run('upload', ['pointer', file]),
      /\(409\) Conflict: an artifact with this name already exists on the workflow run/,
    )
    this.calls.push('upload of a name that is taken: refused')

    await this.call('upload', ['passing', file])
    assert.equal(typeof (await this.call('delete', ['passing'])).id, 'number')
    await assert.rejects(run('get', ['passing']), /Artifact not found for name: passing/)
    await this.call('upload', ['passing', file])

    const raw = path.join(this.directory, 'large.bin')
    const bytes = crypto.randomBytes(20 * 1024 * 1024)
    fs.writeFileSync(raw, bytes)
    await this.call('upload', ['large', raw])
    const large = path.join(this.directory, 'large')
    assert.equal((await this.call('download', ['large', large])).digestMismatch, false)
    assert.ok(fs.readFileSync(path.join(large, 'large.bin')).equals(bytes))

    await this.call('upload', ['-', file], { raw: true })
    await this.call('download', ['pointer.json', path.join(this.directory, 'raw')])
    assert.deepEqual(this.pointerIn(path.join(this.directory, 'raw')), pointer)

    // The client of version 4, as jobs of older workflows and ml-cache speak, and the action that downloads.
    await this.call('upload', ['version-4', file], { old: true })
    const fetched = path.join(this.directory, 'fetched')
    for (const [wanted, directory, names] of [
      ['version-4', 'name', ['version-4']],
      ['version-?', 'pattern', ['version-4']],
      ['*[4g]', 'several', ['passing', 'version-4']],
    ]) {
      const { artifacts } = await this.call('download-artifact', [wanted, path.join(fetched, directory)])
      assert.deepEqual(artifacts.map(({ name }) => name).sort(), names)
    }
    for (const directory of ['name', 'pattern', 'several/passing', 'several/version-4']) {
      assert.deepEqual(this.pointerIn(path.join(fetched, directory)), pointer)
    }
    await this.call('delete', ['version-4'])

    // Another job of the run sees it all the same.
    await this.start({ repository: 'org/models', run_id: job.run_id, job: 'deploy' })
    assert.equal((await this.call('list', [])).artifacts.length, 4)
    await this.call('download', ['pointer', path.join(this.directory, 'other-job')])
    assert.deepEqual(this.pointerIn(path.join(this.directory, 'other-job')), pointer)
  }

  // The client retries what it may: one refusal of each, which costs it three seconds.
  async faults() {
    await this.control('faults', [{ path: '/ListArtifacts', times: 1, action: { status: 503, body: { msg: 'busy' } } }])
    assert.equal((await this.call('get', ['pointer'])).artifact.name, 'pointer')
    await this.control('faults', [{ path: '/FinalizeArtifact', times: 1, action: { status: 403, body: {} } }])
    const file = path.join(this.directory, 'pointer.json')
    await assert.rejects(run('upload', ['burnt', file]), /Failed to FinalizeArtifact: .*\(403\) Forbidden/)
    await assert.rejects(run('get', ['burnt']), /Artifact not found/)
    await assert.rejects(run('upload', ['burnt', file]), /\(409\) Conflict/)
    this.calls.push('upload with a failed finalize: name burnt')
  }

  async otherRepository() {
    const serving = await this.start({ repository: 'org/serving', run_id: 5, job: 'deploy' })
    const [repositoryOwner, repositoryName] = ['org', 'models']
    const findBy = { token: LOOKUP_TOKEN, repositoryOwner, repositoryName, workflowRunId: SECOND_RUN }
    const { artifacts } = await this.call('list', [], { findBy })
    assert.deepEqual(artifacts.map(({ name }) => name).sort(), ['large', 'passing', 'pointer', 'pointer.json'])
    await this.call('get', ['pointer'], { findBy })

    const target = path.join(this.directory, 'other-repository')
    const downloaded = await this.call('download', ['pointer', target], { findBy })
    assert.equal(downloaded.digestMismatch, false)
    assert.equal(this.pointerIn(target).model, 'fraud-detector')
    await this.call('delete', ['passing'], { findBy })
    await assert.rejects(run('get', ['passing'], { findBy }), /Artifact not found/)

    await assert.rejects(run('list', [], { findBy: { ...findBy, token: serving.github_token } }), /Not Found/)
    await assert.rejects(run('list', [], { findBy: { ...findBy, token: 'ghs_unknown' } }), /Bad credentials/)
    this.calls.push('list with tokens of others: 404 and 401')
  }

  async idToken() {
    await this.start({ repository: 'org/serving', run_id: 5, job: 'deploy', permissions: { 'id-token': 'write' } })
    const { value } = await this.call('id-token', ['sts.amazonaws.com'])
    const claims = JSON.parse(Buffer.from(value.split('.')[1], 'base64url').toString())
    assert.equal(claims.aud, 'sts.amazonaws.com')
    assert.equal(claims.sub, 'repo:org/serving:ref:refs/heads/main')
  }

  // The client of actions/github-script, which the artifact client brings along: comments, page by page.
  async comments() {
    const job = { repositories: ['org/models'], permissions: { 'pull_requests': 'write' } }
    await this.control('state', {
      pulls: [{ repository: 'org/models', number: 7 }],
      tokens: { job, person: { ...job, kind: 'fine-grained', login: 'hubot' } },
    })
    const { getOctokit } = await load('@actions/github')
    const [bot, person] = ['job', 'person'].map((token) => getOctokit(token, { baseUrl: `${this.url}/api/v3` }))
    const issue = { owner: 'org', repo: 'models', issue_number: 7 }
    for (const [client, body] of [[bot, 'first'], [person, 'second'], [bot, 'third']]) {
      assert.equal((await client.rest.issues.createComment({ ...issue, body })).status, 201)
    }
    const [{ id }] = (await bot.rest.issues.listComments(issue)).data
    await bot.rest.issues.updateComment({ owner: 'org', repo: 'models', comment_id: id, body: 'changed' })
    const listed = await person.paginate(person.rest.issues.listComments, { ...issue, per_page: 2 })
    assert.deepEqual(listed.map(({ user, body }) => [user.type, user.login, body]), [
      ['Bot', 'github-actions[bot]', 'changed'],
      ['User', 'hubot', 'second'],
      ['Bot', 'github-actions[bot]', 'third'],
    ])
    assert.equal((await person.rest.users.getAuthenticated()).data.login, 'hubot')
    await assert.rejects(bot.rest.users.getAuthenticated(), { status: 403 })
    const reader = getOctokit(LOOKUP_TOKEN, { baseUrl: `${this.url}/api/v3` })
    await assert.rejects(reader.rest.issues.createComment({ ...issue, body: 'x' }), { status: 403 })
    this.calls.push('comments: created, updated and listed (REST)')
  }

  // How often each kind of request was made.
  async requests() {
    const counts = {}
    for (const { method, path: target, query, status } of await this.control('requests')) {
      const kind = target.startsWith('/actions-results/') ? `blob ${new URLSearchParams(query).get('comp') ?? ''}`.trim()
        : target.split('/').at(target.startsWith('/twirp/') ? -1 : 0) || target.replaceAll(/\d+/g, 'N')
      const line = `${method} ${kind} ${status}`
      counts[line] = (counts[line] ?? 0) + 1
    }
    return counts
  }
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    repository: { type: 'string' },
    'run-id': { type: 'string' },
    latest: { type: 'boolean', default: false },
    old: { type: 'boolean', default: false },
    raw: { type: 'boolean', default: false },
  },
})
const [command, ...args] = positionals

try {
  if (command === 'verify') {
    const verification = new Verification(args[0])
    try {
      const versions = Object.fromEntries(
        ['@actions/artifact', 'artifact-5', '@actions/core', '@actions/github'].map((name) => [name, packageJson(name).version]))
      print(`${JSON.stringify({ ok: true, versions, ...(await verification.verify()) }, null, 2)}\n`)
    } finally {
      fs.rmSync(verification.directory, { recursive: true })
    }
  } else {
    const [repositoryOwner, repositoryName] = values.repository?.split('/') ?? []
    const findBy = values.repository
      && { token: process.env.LOOKUP_TOKEN, workflowRunId: Number(values['run-id']), repositoryOwner, repositoryName }
    print(`${JSON.stringify(await run(command, args, { ...values, findBy }))}\n`)
  }
} catch (error) {
  process.stderr.write(`${error.stack}\n`)
  process.exitCode = 1
}
