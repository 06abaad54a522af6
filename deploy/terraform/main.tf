# The roles of each namespace: two, and a third one where it names environments that deploy. What they may do is made in
# policies/, where it can be tested without AWS.

locals {
  roles = merge([for kind, those in module.policies.trust :
    { for namespace in keys(those) : "${kind} ${namespace}" => { kind = kind, namespace = namespace } }
  ]...)

  # A dot cannot be part of an owner's name, so two namespaces never have one name.
  full_names = { for key, role in local.roles : key => "${var.role_prefix}-${role.kind}-${replace(role.namespace, "/", ".")}" }
  # IAM takes 64 characters.
  names = { for key, name in local.full_names : key => length(name) <= 64 ? name : "${substr(name, 0, 55)}-${substr(sha256(name), 0, 8)}" }

  oidc_provider_arn = var.oidc_provider_arn != null ? var.oidc_provider_arn : aws_iam_openid_connect_provider.github[0].arn
}

resource "aws_iam_openid_connect_provider" "github" {
  count = var.oidc_provider_arn == null ? 1 : 0

  url            = "https://token.actions.githubusercontent.com"
  client_id_list = ["sts.amazonaws.com"]
  tags           = var.tags
}

module "policies" {
  source = "./policies"

  bucket            = var.bucket
  prefix            = var.prefix
  namespaces        = var.namespaces
  oidc_provider_arn = local.oidc_provider_arn
  kms_key_arn       = var.kms_key_arn
  restrict_listing  = var.restrict_listing
}

resource "aws_iam_role" "this" {
  for_each = local.roles

  name                 = local.names[each.key]
  description          = "ml-cache: ${each.value.kind} runs of ${each.value.namespace}"
  assume_role_policy   = module.policies.trust[each.value.kind][each.value.namespace]
  max_session_duration = 3600 # what the action asks for; it renews its session for longer transfers
  permissions_boundary = var.permissions_boundary
  tags                 = var.tags
}

resource "aws_iam_role_policy" "this" {
  for_each = local.roles

  name   = "ml-cache"
  role   = aws_iam_role.this[each.key].id
  policy = module.policies.permissions[each.value.kind][each.value.namespace]
}
