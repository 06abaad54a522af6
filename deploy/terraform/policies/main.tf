# The policy documents as text, and nothing else: no provider, so that they can be computed and tested anywhere.
# The keys are those of docs/formats.md, "Keys".

terraform {
  required_version = ">= 1.9"
}

locals {
  partition = split(":", var.oidc_provider_arn)[1]
  issuer    = split(":oidc-provider/", var.oidc_provider_arn)[1]
  audience  = local.partition == "aws-cn" ? "sts.amazonaws.com.cn" : "sts.amazonaws.com"

  bucket_arn = "arn:${local.partition}:s3:::${var.bucket}"
  version_1  = var.prefix == "" ? "v1" : "${var.prefix}/v1"
  content    = ["${local.version_1}/blobs/", "${local.version_1}/manifests/", "${local.version_1}/inputs/"]
  trusted    = { for name, _ in var.namespaces : name => "${local.version_1}/trusted/${name}/" }
  untrusted  = { for name, _ in var.namespaces : name => "${local.version_1}/untrusted/${name}/" }
  foreign    = { for name, it in var.namespaces : name => [for other in it.reads : "${local.version_1}/trusted/${other}/"] }

  # A pattern as long as the names themselves: whoever lists by it must know the whole name already.
  digest = join("", [for _ in range(64) : "?"])
  content_names = [
    "${local.version_1}/blobs/??/${local.digest}",
    "${local.version_1}/manifests/${local.digest}.json",
    "${local.version_1}/manifests/${local.digest}.json.zst",
    "${local.version_1}/inputs/${local.digest}.zst",
  ]

  content_arns = [for prefix in local.content : "${local.bucket_arn}/${prefix}*"]

  only_tls = {
    Sid       = "OnlyTls"
    Effect    = "Deny"
    Action    = "s3:*"
    Resource  = [local.bucket_arn, "${local.bucket_arn}/*"]
    Condition = { Bool = { "aws:SecureTransport" = "false" } }
  }

  add_content = {
    Sid       = "AddContent"
    Effect    = "Allow"
    Action    = "s3:PutObject"
    Resource  = local.content_arns
    Condition = { Null = { "s3:if-none-match" = "false" } }
  }

  # What makes an object useless for all others: a key that only its writer has, and a class that must be thawed.
  # Each condition holds only for requests with the header, because a missing key equals nothing.
  readable_by_all = [
    {
      Sid       = "NoCustomerKeys"
      Effect    = "Deny"
      Action    = "s3:PutObject"
      Resource  = "${local.bucket_arn}/*"
      Condition = { Null = { "s3:x-amz-server-side-encryption-customer-algorithm" = "false" } }
    },
    {
      Sid      = "NoOtherKmsKeys"
      Effect   = "Deny"
      Action   = "s3:PutObject"
      Resource = "${local.bucket_arn}/*"
      Condition = merge(
        { Null = { "s3:x-amz-server-side-encryption-aws-kms-key-id" = "false" } },
        { for key in compact([var.kms_key_arn]) : "StringNotEquals" => { "s3:x-amz-server-side-encryption-aws-kms-key-id" = key } },
      )
    },
    {
      Sid      = "NoOtherStorageClasses"
      Effect   = "Deny"
      Action   = "s3:PutObject"
      Resource = "${local.bucket_arn}/*"
      Condition = {
        Null            = { "s3:x-amz-storage-class" = "false" }
        StringNotEquals = { "s3:x-amz-storage-class" = "STANDARD" }
      }
    },
  ]

  # What each role reads and writes besides the content.
  grants = {
    trusted = { for name, it in var.namespaces : name => {
      # The `/` of a scope is encoded in its keys.
      reads  = concat([local.trusted[name]], it.promote ? ["${local.untrusted[name]}pr%2F"] : [], local.foreign[name])
      writes = [local.trusted[name]]
    } }
    untrusted = { for name, _ in var.namespaces : name => {
      reads  = concat([local.untrusted[name], local.trusted[name]], local.foreign[name])
      writes = [local.untrusted[name]]
    } }
    deploy = { for name, _ in local.deploy_trust : name => {
      reads  = concat([local.trusted[name]], local.foreign[name])
      writes = []
    } }
  }

  permissions = { for role, grants in local.grants : role => { for name, grant in grants : name => jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [
        {
          Sid      = "Read"
          Effect   = "Allow"
          Action   = "s3:GetObject"
          Resource = [for prefix in concat(local.content, grant.reads) : "${local.bucket_arn}/${prefix}*"]
        },
        merge(
          {
            Sid      = "TellMissingFromForbidden"
            Effect   = "Allow"
            Action   = "s3:ListBucket"
            Resource = local.bucket_arn
          },
          var.restrict_listing ? {
            Condition = { StringLike = { "s3:prefix" = concat(local.content_names, [for prefix in grant.reads : "${prefix}*"]) } }
          } : {},
        ),
      ],
      # Who writes no pointers has no content to add.
      [for _ in grant.writes : local.add_content],
      [for prefix in grant.writes : {
        Sid      = "WritePointers"
        Effect   = "Allow"
        Action   = "s3:PutObject"
        Resource = "${local.bucket_arn}/${prefix}*"
      }],
      [local.only_tls],
      local.readable_by_all,
      [for key in compact([var.kms_key_arn]) : {
        Sid      = "UseKey"
        Effect   = "Allow"
        Action   = concat(["kms:Decrypt"], [for _ in grant.writes : "kms:GenerateDataKey"])
        Resource = key
        # The key is used by S3 for the role, never by the role itself.
        Condition = { StringLike = { "kms:ViaService" = "s3.*.amazonaws.com*" } }
      }],
    )
  }) } }

  bucket_policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat([for it in concat([local.only_tls], local.readable_by_all) : merge(it, { Principal = "*" })], [
      {
        Sid       = "ContentIsOnlyCreated"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:PutObject"
        Resource  = local.content_arns
        Condition = { Null = { "s3:if-none-match" = "true" } }
      },
      {
        Sid       = "PointersAreComparedBeforeTheyAreSet"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:PutObject"
        Resource  = ["${local.bucket_arn}/${local.version_1}/trusted/*", "${local.bucket_arn}/${local.version_1}/untrusted/*"]
        Condition = { Null = { "s3:if-none-match" = "true", "s3:if-match" = "true" } }
      },
    ])
  })
}
