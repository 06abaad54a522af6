// The product under the policies of deploy/iam: real jobs with tokens of the double of GitHub, a stand-in for AWS that
// obeys the policies, and a real S3 server behind it.
//
// scripts/check-deploy starts it; ML_CACHE_BINARY is the program.

import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import readline from 'node:readline'
import test, { after, before } from 'node:test'
import { crc32 } from 'node:zlib'
import { start } from './aws.mjs'
import { BUCKET, permissions, roleArn, ROLES, WRITERS } from './iam.mjs'

const ROOT = path.resolve(import.meta.dirname, '../..')
const REPOSITORY = 'acme/fraud-detection'
const FOREIGN = 'acme/other'
const PUSH = { event: 'push', ref: 'refs/heads/main' }
const BRANCH = { event: 'push', ref: 'refs/heads/feature/x' }
const PULL = { event: 'pull_request', ref: 'refs/pull/7/merge' }

let aws, plain, github, scratch
let runs = 2000

before(async () => {
  scratch = fs.mkdtempSync(path.join(os.tmpdir(), 'ml-cache-deploy-'))
  aws = await start()
  plain = await start({ secure: false })
  github = await double()
  await control('state', { repositories: { [REPOSITORY]: { id: 456789, owner_id: 123456 }, [FOREIGN]: {} } })
})

after(() => {
  github?.child.stdin.end()
  aws?.stop()
  plain?.stop()
  fs.rmSync(scratch, { recursive: true, force: true })
})

async function double() {
  const child = spawn('python3', [path.join(ROOT, 'tests/double/github.py'), '--until-stdin-closes'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  for await (const line of readline.createInterface({ input: child.stdout })) return { child, ...JSON.parse(line) }
  throw new Error('the double did not start')
}

async function control(what, body) {
  const answer = await fetch(`${github.url}/_control/${what}`, { method: 'POST', body: JSON.stringify(body) })
  assert(answer.ok, await answer.clone().text())
  return answer.json()
}

/** A job as GitHub would start it, in a workspace of its own whose data and model have the given content. */
async function job({ event, ref }, { data = 'rows', repository = REPOSITORY, environment, server = aws } = {}) {
  const id = ++runs
  const pulls = event === 'pull_request' ? [7] : []
  await control('state', { runs: [{ id, repository, event, ref, pull_requests: pulls }] })
  const started = await control('runtime-token', {
    repository,
    run_id: id,
    environment,
    permissions: { 'id-token': 'write' },
  })
  const workspace = fs.mkdtempSync(path.join(scratch, 'job-'))
  fs.mkdirSync(path.join(workspace, 'models'))
  fs.writeFileSync(path.join(workspace, 'data'), data)
  fs.writeFileSync(path.join(workspace, 'models', 'weights'), `trained from ${data} by ${event}`)
  const side = { repo: { full_name: repository } }
  const payload = { repository: { default_branch: 'main' }, pull_request: { number: 7, head: side, base: side } }
  if (event !== 'pull_request') delete payload.pull_request
  fs.writeFileSync(`${workspace}.event.json`, JSON.stringify(payload))
  const env = {
    ...started.env,
    PATH: process.env.PATH,
    HOME: scratch,
    AWS_ENDPOINT_URL_STS: server.sts,
    AWS_REGION: 'eu-central-1',
    GITHUB_EVENT_NAME: event,
    GITHUB_EVENT_PATH: `${workspace}.event.json`,
    GITHUB_REF: ref,
    GITHUB_SHA: '0'.repeat(40),
  }
  return { workspace, env, server }
}

const SAVE = ['--data-paths=data', '--model-path=models']
const INPUTS = {
  plan: ['--data-paths=data'],
  save: SAVE,
  run: SAVE,
  restore: ['--data-paths=data', '--destination=restored'],
}

/** Runs a verb of the program in the job; the role is the ARN's name. */
function ml(job, role, verb, more = [], inputs = INPUTS[verb]) {
  const where = ['--workspace', job.workspace, '--store', `s3://${BUCKET}/cache`, '--endpoint-url', job.server.url]
  const all = [verb, '--json', '--model=fraud', `--role-to-assume=${roleArn(role)}`, ...where, ...inputs, ...more]
  const child = spawn(process.env.ML_CACHE_BINARY, all, { env: job.env, stdio: ['ignore', 'pipe', 'pipe'] })
  let [json, log] = ['', '']
  child.stdout.on('data', (piece) => (json += piece))
  child.stderr.on('data', (piece) => (log += piece))
  return new Promise((resolve) =>
    child.on('close', (code) => resolve({ code, log, ...(json.trim().startsWith('{') ? JSON.parse(json) : {}) })),
  )
}

function succeeded(run, wanted) {
  assert.equal(run.code, 0, run.log)
  for (const [name, value] of Object.entries(wanted))
    assert.equal(String(run[name]), String(value), `${name}: ${run.log}`)
}

function denied(run, words) {
  assert.equal(run.code, 1, run.log)
  assert.match(run.log, words)
}

/** A request of somebody who has a role's credentials and a client of his own. */
async function request(role, method, key, headers = {}, body) {
  const token = { 'x-amz-security-token': aws.aws.session(role) }
  const answer = await fetch(`${aws.url}/${BUCKET}${key}`, { method, headers: { ...token, ...headers }, body })
  return { status: answer.status, text: await answer.text() }
}

/** Removes an object behind the policies, as an administrator can. */
const remove = (key) => execFileSync(path.join(ROOT, 'scripts/s3'), ['rm', BUCKET, key])

const written = (role) =>
  aws.aws.log.filter((line) => line.action === 's3:PutObject' && line.role === role && line.status === 200)

test('a push to the default branch trains, saves and restores with the trusted role', async () => {
  const main = await job(PUSH)
  succeeded(await ml(main, 'trusted', 'plan'), { 'retrain-needed': true, reason: 'no-model' })
  succeeded(await ml(main, 'trusted', 'save'), { saved: true })
  succeeded(await ml(main, 'trusted', 'plan'), { 'retrain-needed': false, reason: 'hit' })
  succeeded(await ml(main, 'trusted', 'restore'), { restored: true })
  assert.equal(
    fs.readFileSync(path.join(main.workspace, 'restored/models/weights'), 'utf8'),
    'trained from rows by push',
  )
  // Before it trains, `run` asks whether it will be able to save.
  succeeded(await ml(await job(PUSH, { data: 'new rows' }), 'trusted', 'run', ['--', 'true']), { saved: true })
  assert(aws.aws.log.some((line) => line.key.endsWith('/probe')))
  // Nothing was refused on the way: the policy has all that the product needs.
  assert.deepEqual(
    aws.aws.log.filter((line) => line.status === 403),
    [],
  )
})

test('a pull request uses the trusted model, and saves its own beside it', async () => {
  const since = aws.aws.log.length
  const same = await job(PULL)
  succeeded(await ml(same, 'untrusted', 'plan'), { 'retrain-needed': false, reason: 'hit' })
  succeeded(await ml(same, 'untrusted', 'restore'), { restored: true })
  const other = await job(PULL, { data: 'more rows' })
  succeeded(await ml(other, 'untrusted', 'plan'), { 'retrain-needed': true, reason: 'data-changed' })
  succeeded(await ml(other, 'untrusted', 'save'), { saved: true })
  succeeded(await ml(other, 'untrusted', 'save', ['--force-retrain=true']), { saved: true })
  succeeded(await ml(other, 'untrusted', 'restore'), { restored: true })
  assert.deepEqual(
    aws.aws.log.slice(since).filter((line) => line.status === 403),
    [],
  )
  const pointers = written('untrusted')
    .map((line) => line.key)
    .filter((key) => !/v1\/(blobs|manifests|inputs)\//.test(key))
  assert(
    pointers.length >= 4 && pointers.every((key) => key.startsWith('cache/v1/untrusted/acme/fraud-detection/pr%2F7/')),
    pointers,
  )
  // The default branch does not see it.
  const main = await job(PUSH, { data: 'more rows' })
  succeeded(await ml(main, 'trusted', 'plan'), { 'retrain-needed': true })
})

test('another branch has a scope of its own', async () => {
  const branch = await job(BRANCH, { data: 'rows of a branch' })
  succeeded(await ml(branch, 'untrusted', 'save'), { saved: true })
  succeeded(await ml(branch, 'untrusted', 'plan'), { reason: 'hit' })
  assert(written('untrusted').some((line) => line.key.includes('/branch%2Ffeature%2Fx/')))
})

test('a deployment restores the trusted model with a role that only reads', async () => {
  const { pointer, fingerprint } = await ml(await job(PUSH), 'trusted', 'restore') // which makes it the latest
  const since = aws.aws.log.length
  for (const immutable_subjects of [true, false]) {
    await control('state', { settings: { immutable_subjects } })
    for (const environment of ['staging', 'production']) {
      const named = `--pointer=${JSON.stringify(pointer)}`
      // By the plan's pointer, by the fingerprint, and the latest one.
      for (const inputs of [[named, `--fingerprint=${fingerprint}`], [`--fingerprint=${fingerprint}`], []]) {
        const deploying = await job(PUSH, { environment })
        const run = await ml(deploying, 'deploy', 'restore', inputs, ['--destination=restored'])
        succeeded(run, { restored: true })
        assert.equal(run.pointer.fingerprint, fingerprint)
        const model = fs.readFileSync(path.join(deploying.workspace, 'restored/models/weights'), 'utf8')
        assert.equal(model, 'trained from rows by push')
      }
    }
  }
  assert.deepEqual(
    aws.aws.log.slice(since).filter((line) => line.status === 403 || line.role !== 'deploy'),
    [],
  )
  // By paths it would move the head of the branch, too: that it may not is a warning.
  await ml(await job(PUSH, { data: 'newer rows' }), 'trusted', 'save')
  const byPaths = await ml(await job(PUSH, { environment: 'production' }), 'deploy', 'restore')
  succeeded(byPaths, { restored: true })
  assert.match(byPaths.log, /cannot record the latest model of `main`/)
})

test('the deploying role is for nothing else, and for nobody else', async () => {
  for (const immutable_subjects of [true, false]) {
    await control('state', { settings: { immutable_subjects } })
    for (const [what, more] of [
      [PUSH],
      [PUSH, { environment: 'preview' }],
      [PUSH, { environment: 'production', repository: FOREIGN }],
      [BRANCH, { environment: 'production' }],
      [PULL],
      [PULL, { environment: 'production' }],
      [{ event: 'push', ref: 'refs/tags/main' }, { environment: 'production' }],
    ]) {
      denied(await ml(await job(what, more), 'deploy', 'restore'), /STS answered AccessDenied/)
    }
    // Nor has its job any other role.
    for (const role of WRITERS) {
      denied(await ml(await job(PUSH, { environment: 'production' }), role, 'restore'), /STS answered AccessDenied/)
    }
  }
  const deploying = await job(PUSH, { environment: 'production', data: 'rows of a deployment' })
  denied(await ml(deploying, 'deploy', 'save'), /403 AccessDenied/)
  assert.deepEqual(written('deploy'), [])
})

test('both forms of the subject are known to both writing roles', async () => {
  for (const immutable_subjects of [true, false]) {
    await control('state', { settings: { immutable_subjects } })
    succeeded(await ml(await job(PUSH), 'trusted', 'plan'), { reason: 'hit' })
    succeeded(await ml(await job(PULL), 'untrusted', 'plan'), { reason: 'hit' })
  }
})

test('the trusted role is not to be had by anybody else', async () => {
  for (const immutable_subjects of [true, false]) {
    await control('state', { settings: { immutable_subjects } })
    for (const [what, more] of [
      [PULL],
      [BRANCH],
      [{ event: 'push', ref: 'refs/tags/main' }],
      [{ event: 'merge_group', ref: 'refs/heads/gh-readonly-queue/main/pr-7-0' }],
      [PUSH, { environment: 'production' }],
      [PUSH, { repository: FOREIGN }],
    ]) {
      denied(await ml(await job(what, more), 'trusted', 'plan'), /STS answered AccessDenied/)
    }
    denied(await ml(await job(PULL, { repository: FOREIGN }), 'untrusted', 'plan'), /STS answered AccessDenied/)
  }
})

test('a pull request that claims to be the default branch is refused by the bucket', async () => {
  const before = written('untrusted').length
  const liar = await job(PULL, { data: 'poison' })
  fs.writeFileSync(liar.env.GITHUB_EVENT_PATH, JSON.stringify({ repository: { default_branch: 'main' } }))
  Object.assign(liar.env, { GITHUB_EVENT_NAME: 'push', GITHUB_REF: 'refs/heads/main' })
  denied(await ml(liar, 'untrusted', 'save'), /v1\/trusted\/.*403 AccessDenied/s)
  assert(
    written('untrusted')
      .slice(before)
      .every((line) => !line.key.includes('/trusted/')),
  )
  succeeded(await ml(await job(PUSH, { data: 'poison' }), 'trusted', 'plan'), { 'retrain-needed': true })
})

test('a client of one’s own gets no further', async () => {
  const trusted = written('trusted').map((line) => line.key)
  assert(trusted.some((key) => key.includes('/pointers/')) && trusted.some((key) => key.includes('/blobs/')))
  const encoded = (key) => `/${key.split('/').map(encodeURIComponent).join('/')}`
  for (const key of trusted.map(encoded)) {
    const content = /v1\/(blobs|manifests|inputs)\//.test(key)
    for (const role of content ? ROLES : ['untrusted', 'deploy']) {
      const { status } = await request(role, 'PUT', key, {}, 'other bytes')
      assert.equal(status, 403, `${role} overwrites ${key}`)
      const guarded = await request(role, 'PUT', key, { 'if-none-match': '*' }, 'other bytes')
      assert.equal(guarded.status, content && role !== 'deploy' ? 412 : 403, `${role} creates ${key} again`)
      assert.equal((await request(role, 'DELETE', key)).status, 403, `${role} deletes ${key}`)
    }
  }
  const listing = (prefix) => `?list-type=2&prefix=${encodeURIComponent(prefix)}`
  for (const prefix of ['cache/v1/blobs/', 'cache/v1/manifests/', 'cache/v1/trusted/acme/other/', '']) {
    for (const role of ROLES) {
      const { status } = await request(role, 'GET', listing(prefix))
      assert.equal(status, 403, `${role} lists ${prefix}`)
    }
  }
  for (const role of ROLES) assert.equal((await request(role, 'GET', '?list-type=2')).status, 403, role)
  const own = await request('untrusted', 'GET', listing('cache/v1/untrusted/acme/fraud-detection/'))
  assert.match(own.text, /pr%2F7/)
  for (const { key } of written('untrusted').filter(({ key }) => key.includes('/untrusted/'))) {
    assert.equal((await request('deploy', 'GET', encoded(key))).status, 403, `deploy reads ${key}`)
  }
  // What the trusted role saved is all still there.
  succeeded(await ml(await job(PUSH), 'trusted', 'restore'), { restored: true })
})

/** The names of a model's content, as a save of the same inputs and bytes in another place made them. */
async function foreseen(data) {
  const before = aws.aws.log.length
  const first = await job(PUSH, { data })
  succeeded(await ml(first, 'trusted', 'save'), { saved: true })
  const shared = /^cache\/v1\/(blobs|manifests|inputs)\//
  const lines = aws.aws.log.slice(before).filter(({ action, key }) => action === 's3:PutObject' && shared.test(key))
  return lines.map(({ key }) => key)
}

const checksum = (bytes) => Buffer.from([0, 8, 16, 24].map((shift) => (crc32(bytes) >>> (24 - shift)) & 255)).toString('base64')

test('occupied names stop no save, and the untrusted role writes no trusted second name', async () => {
  const data = 'rows whose model was foreseen'
  const names = await foreseen(data)
  assert.equal(names.length, 3)
  const second = names.map((key) => key.replace('/v1/', `/v1/trusted/${REPOSITORY}/fraud/`))
  // The administrator removes all of it, and somebody puts other bytes of the same length there first.
  for (const key of names) {
    const length = (await request('trusted', 'GET', `/${key}`)).text.length
    await remove(key)
    const bytes = Buffer.alloc(length, 'x')
    const headers = { 'if-none-match': '*', 'x-amz-checksum-crc32': checksum(bytes) }
    assert.equal((await request('untrusted', 'PUT', `/${key}`, headers, bytes)).status, 200)
  }
  for (const key of second) {
    assert.equal((await request('untrusted', 'PUT', `/${key}`, { 'if-none-match': '*' }, 'mine')).status, 403)
  }
  const main = await job(PUSH, { data })
  succeeded(await ml(main, 'trusted', 'plan'), { 'retrain-needed': true, reason: 'incomplete' })
  const save = await ml(main, 'trusted', 'save', ['--force-retrain=true'])
  succeeded(save, { saved: true })
  for (const key of names) assert(save.log.includes(`aws s3 rm s3://${BUCKET}/${key}`), save.log)
  succeeded(await ml(main, 'trusted', 'plan'), { reason: 'hit' })
  succeeded(await ml(main, 'trusted', 'restore'), { restored: true })
  assert.equal(
    fs.readFileSync(path.join(main.workspace, 'restored/models/weights'), 'utf8'),
    `trained from ${data} by push`,
  )
  for (const key of second) assert.equal((await request('untrusted', 'GET', `/${key}`)).status, 200)
})

test('without TLS nothing works', async () => {
  const insecure = await job(PUSH, { server: plain })
  denied(await ml(insecure, 'trusted', 'plan'), /403/)
})

test('without the right to list, a missing model looks like a forbidden one', async () => {
  const statements = permissions.trusted.Statement
  const at = statements.findIndex((statement) => statement.Sid === 'TellMissingFromForbidden')
  const [removed] = statements.splice(at, 1)
  try {
    denied(await ml(await job(PUSH, { data: 'never seen' }), 'trusted', 'plan'), /403.*s3:ListBucket/s)
  } finally {
    statements.splice(at, 0, removed)
  }
})
