variable "bucket" {
  description = "Name of the bucket."
  type        = string
}

variable "prefix" {
  description = "What stands after the bucket in the input `store`, without slashes at its ends; empty for the whole bucket."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^([A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*)?$", var.prefix))
    error_message = "The prefix is made of letters, digits, `.`, `_`, `-` and single slashes between them."
  }
}

variable "oidc_provider_arn" {
  description = "ARN of the IAM OIDC provider for GitHub Actions; its end says who issues the tokens."
  type        = string

  validation {
    condition     = can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:oidc-provider/[^*?]+$", var.oidc_provider_arn))
    error_message = "An ARN such as arn:aws:iam::111122223333:oidc-provider/token.actions.githubusercontent.com."
  }
}

variable "kms_key_arn" {
  description = "ARN of the KMS key that the bucket encrypts with by default; null where it is S3's own."
  type        = string
  default     = null
}

variable "restrict_listing" {
  description = "Tell missing objects from forbidden ones without letting the roles list other names; false where a store does not take the key for s3:prefix."
  type        = bool
  default     = true
}

variable "namespaces" {
  description = "Who may use which namespace (`owner/name`, by default the repository's name); see README.md."
  type = map(object({
    repositories = optional(list(object({
      name     = string
      owner_id = optional(number)
      id       = optional(number)
    })))
    trusted_refs            = optional(list(string), ["refs/heads/main"])
    trusted_environments    = optional(list(string), [])
    trusted_workflows       = optional(list(string), [])
    deploy_environments     = optional(list(string), [])
    more_trusted_subjects   = optional(list(string), [])
    more_untrusted_subjects = optional(list(string), [])
    more_deploy_subjects    = optional(list(string), [])
    merge_queue             = optional(bool, false)
    promote                 = optional(bool, false)
    reads                   = optional(list(string), [])
  }))

  validation {
    condition = alltrue([for name in flatten([for name, it in var.namespaces :
      concat([name], it.reads, [for repository in coalesce(it.repositories, []) : repository.name])
    ]) : can(regex("^[A-Za-z0-9._-]+/[A-Za-z0-9._-]+$", name))])
    error_message = "Namespaces, what they read, and repositories are `owner/name`."
  }

  validation {
    condition     = alltrue([for it in var.namespaces : it.repositories == null || try(length(it.repositories) > 0, false)])
    error_message = "A namespace without a repository would have roles that nobody can assume."
  }

  validation {
    condition = alltrue([for repository in flatten([for it in var.namespaces : coalesce(it.repositories, [])]) :
      (repository.owner_id == null) == (repository.id == null)
    ])
    error_message = "A repository has both numbers, `owner_id` and `id`, or none."
  }

  validation {
    condition = alltrue([for ref in flatten([for it in var.namespaces : it.trusted_refs]) :
      can(regex("^refs/(heads|tags)/[^*?:$]+$", ref))
    ])
    error_message = "Trusted refs are full names without wildcards, such as refs/heads/main."
  }

  validation {
    condition = alltrue([for text in flatten([for it in var.namespaces : concat(
      it.trusted_environments, it.trusted_workflows, it.more_trusted_subjects, it.deploy_environments, it.more_deploy_subjects,
    )]) : !can(regex("[*?$]", text))])
    error_message = "What makes a run trusted, or lets it deploy, is compared exactly, so it has no wildcards."
  }
}
