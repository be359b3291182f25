# superctl, the service of the app `shop`, and the release of the bundle that the pillar names. It takes from the file server shop.toml, the
# bundle, and in a directory superctl its program and what packaging/systemd has.
#
#   salt 'web*' state.apply shop --batch-size 1 --failhard pillar='{"bundle": "shop-1.2.tar.zst"}'
/usr/bin/superctl:
  file.managed:
    - source: salt://superctl/superctl
    - mode: '0755'

/etc/systemd/system/superctl@.service:
  file.managed:
    - source: salt://superctl/superctl@.service

{% for kind in 'sysusers', 'tmpfiles' %}
/usr/lib/{{ kind }}.d/superctl.conf:
  file.managed:
    - source: salt://superctl/{{ kind }}.conf
{% endfor %}

systemd-sysusers && systemd-tmpfiles --create superctl.conf:
  cmd.run:
    - onchanges:
      - file: /usr/lib/sysusers.d/superctl.conf
      - file: /usr/lib/tmpfiles.d/superctl.conf

shop:
  user.present:
    - system: true
    - home: /srv/shop

# Which nginx must be able to enter: Debian 13 makes home directories with mode 0700.
/srv/shop:
  file.directory:
    - user: shop
    - mode: '0755'

# Which root makes and the app cannot change.
/srv/shop/releases:
  file.directory:
    - user: root

# Written if superctl finds nothing wrong with it.
/etc/superctl/shop.toml:
  file.managed:
    - source: salt://shop.toml
    - makedirs: true
    - check_cmd: sh -c 'superctl --config "$0" check'

# A reload waits until workers with the new config serve; one that is refused changes nothing, and fails.
superctl@shop:
  service.running:
    - enable: true
    - reload: true
    - watch:
      - file: /etc/superctl/shop.toml
    - require:
      - file: /usr/bin/superctl
      - file: /etc/systemd/system/superctl@.service

superctl --app shop upgrade:
  cmd.run:
    - onchanges:
      - file: /usr/bin/superctl
    - require:
      - service: superctl@shop

{% set bundle = pillar['bundle'] %}
/srv/shop/{{ bundle }}:
  file.managed:
    - source: salt://{{ bundle }}

# `current` of the config follows the live release.
superctl --app shop deploy /srv/shop/{{ bundle }}:
  cmd.run:
    - unless: test /srv/shop/current -ef /srv/shop/releases/{{ bundle | replace('shop-', '', 1) | replace('.tar.zst', '') }}
    - require:
      - service: superctl@shop
      - file: /srv/shop/{{ bundle }}
